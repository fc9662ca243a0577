"""
The contents of an environment: each distribution with a digest of its files, and the files of no distribution.

Runs in: task environment, as a program by its path, with the standard library alone; and worker, which compares an
environment with its earlier state. Each file is read once, for its digest and for the comparison with the list of its
distribution (``RECORD``).
"""

import configparser
import csv
import hashlib
import io
import json
import os
import platform
import re
import stat
import sys
from base64 import urlsafe_b64encode
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Inventory", "main", "take_inventory"]

# Files in the folder of a distribution in which an installer records its own work.
OF_INSTALLER = re.compile(r"INSTALLER|RECORD|REQUESTED|direct_url\.json|uv_(?:build|cache)\.json")
# Files that programs that create virtual environments place beside the distributions.
OF_VENV = frozenset({"_virtualenv.pth", "_virtualenv.py"})
# The shebang of a script. The longer form is for a path that is too long for the kernel.
INTERPRETER = re.compile(rb"#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*)\n")
# Python imports these only in place of their sources. Any other file in such a folder can be imported itself.
COMPILED = re.compile(r"(?:.*/)?__pycache__/[^/]*\.pyc")


class Inventory(NamedTuple):
    """
    The contents of an environment.

    Each of ``distributions`` has a normalized ``name``, a ``version``, a ``direct_url`` (:pep:`610`) or None,
    ``record_sha256``, and ``files_sha256``, the digest of the files that determine its behaviour. ``other_files``
    belong to no distribution; the values are their digests, or the targets of links. ``other_sha256`` is the digest of
    those that Python could import; None if there are none. ``missing`` and ``changed`` are files that differ from the
    lists of the distributions. All paths are relative to the environment.
    """

    distributions: list[dict[str, Any]]
    other_files: dict[str, str]
    other_sha256: str | None
    missing: list[str]
    changed: list[str]


def take_inventory(environment: Path, checkouts: Container[str] = ()) -> Inventory:
    """
    Return the contents of an environment. Each file is read.

    ``checkouts`` are the distributions that were installed from a checkout. Their own ``direct_url.json`` is no proof
    of that, since a wheel may contain such a file.
    """
    root = os.path.realpath(environment)
    folders = sorted({os.path.realpath(each) for each in Path(root).glob("lib*/*/site-packages")})
    digests = Digests()
    # Two distributions may list the same path. The file is that of the one that was installed last.
    listed: dict[str, set[str]] = {}
    distributions = []
    for folder in folders:
        for info in sorted(each for each in os.listdir(folder) if each.endswith(".dist-info")):
            rows = _rows(f"{folder}/{info}/RECORD")
            # A list that a power failure has truncated can be parsed, but does not contain all files.
            if not {f"{info}/METADATA", f"{info}/RECORD"} <= rows.keys():
                rows[f"{info}/RECORD"] = "truncated"
            for path, expected in rows.items():
                listed.setdefault(os.path.normpath(f"{folder}/{path}" if path[:1] != "/" else path), set()).add(
                    expected
                )
            distributions.append(_distribution(root, f"{folder}/{info}", rows, digests, checkouts))
    missing, changed = [], []
    for path, expectations in listed.items():
        if not os.path.exists(path):
            missing.append(os.path.relpath(path, root))
        elif not any(digests.matches(path, each) for each in expectations):
            changed.append(os.path.relpath(path, root))
    others = dict(sorted(_others(root, listed, digests)))
    modules = {
        path.removeprefix(prefix): digest
        for prefix in (f"{os.path.relpath(each, root)}/" for each in folders)
        for path, digest in others.items()
        if path.startswith(prefix) and path.removeprefix(prefix) not in OF_VENV
    }
    return Inventory(
        distributions=sorted(distributions, key=lambda each: (each["name"], each["version"])),
        other_files=others,
        other_sha256=_digest_of(modules) if modules else None,
        missing=sorted(missing),
        changed=sorted(changed),
    )


class Digests:
    """The digests of files, each of which is read once."""

    def __init__(self) -> None:
        self._known: dict[str, bytes | None] = {}

    def of(self, path: str) -> bytes | None:
        """Return the SHA-256 of a regular file; None for anything else, and for an unreadable file."""
        if path not in self._known:
            self._known[path] = _digest(path, "sha256")
        return self._known[path]

    def matches(self, path: str, expected: str) -> bool:
        """Return whether a file has a digest in the form of ``RECORD``, which may be empty."""
        algorithm, _, text = expected.partition("=")
        if not expected:
            return True
        found = self.of(path) if algorithm == "sha256" else _digest(path, algorithm)
        return found is not None and urlsafe_b64encode(found).decode().rstrip("=") == text


def _digest(path: str, algorithm: str) -> bytes | None:
    with suppress(OSError, ValueError):
        if stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would wait for its writer
            with open(path, "rb") as file:
                return hashlib.file_digest(file, algorithm).digest()
    return None


def _distribution(
    root: str, path: str, rows: dict[str, str], digests: Digests, checkouts: Container[str]
) -> dict[str, Any]:
    folder, _, info = path.rpartition("/")
    direct_url = _direct_url(f"{path}/direct_url.json")
    name, version = _name_and_version(path)
    is_editable = bool(name in checkouts and direct_url and direct_url.get("dir_info", {}).get("editable"))
    scripts = _generated_scripts(f"{path}/entry_points.txt")
    files = {}
    for row in rows:
        path = os.path.normpath(f"{folder}/{row}" if row[:1] != "/" else row)
        relative = os.path.relpath(path, folder)
        parent, _, base = relative.rpartition("/")
        is_script = os.path.dirname(path) == f"{root}/bin"
        # An editable checkout is described by its own state. The files that refer to it contain its path.
        is_left_out = (
            (parent == info and OF_INSTALLER.fullmatch(base))
            or (is_editable and not relative.startswith(f"{info}/"))
            or (is_script and base in scripts)
        )
        if not is_left_out and (digest := digests.of(path)):
            files[relative] = _digest_of_script(path) if is_script else digest.hex()
    return {
        "name": name,
        "version": version,
        "direct_url": direct_url,
        "record_sha256": _hex(digests.of(f"{folder}/{info}/RECORD")),
        "files_sha256": _digest_of(files),
    }


def _digest_of(files: dict[str, str]) -> str:
    """Return the digest of files by path: the SHA-256 of a JSON array, in which names are unambiguous."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def _rows(record: str) -> dict[str, str]:
    """Return the files in a ``RECORD`` with their digests, without compiled ones; empty if it cannot be parsed."""
    with suppress(csv.Error):
        rows = csv.reader(io.StringIO(_text(record), newline=""))
        return {row[0]: row[1] for row in rows if len(row) > 1 and not COMPILED.fullmatch(row[0])}
    return {}


def _text(path: str) -> str:
    """Return the text of a regular file; empty for anything else. A FIFO would wait for its writer."""
    with suppress(OSError, UnicodeDecodeError):
        if stat.S_ISREG(os.stat(path).st_mode):
            return Path(path).read_bytes().decode()
    return ""


def _name_and_version(info: str) -> tuple[str, str]:
    name, _, version = os.path.basename(info).removesuffix(".dist-info").partition("-")
    fields = {"name": name, "version": version}
    for line in _text(f"{info}/METADATA").splitlines():
        key, _, value = line.partition(":")
        if key.lower() in fields:
            fields[key.lower()] = value.strip()
        elif not line.strip():
            break
    return re.sub(r"[-_.]+", "-", fields["name"]).lower(), fields["version"]


def _direct_url(path: str) -> dict[str, Any] | None:
    """Return the content of a ``direct_url.json``; None if it is not valid."""
    with suppress(ValueError, RecursionError, AttributeError, KeyError):
        content = json.loads(_text(path))
        hashes = content.get("archive_info", {}).get("hashes", {})
        parts = (content.get("dir_info", {}), content.get("vcs_info", {}), hashes)
        if isinstance(content["url"], str) and all(isinstance(each, dict) for each in parts):
            return dict(content)
    return None


def _generated_scripts(entry_points: str) -> set[str]:
    """Return the scripts that an installer generates, in its own form, from the entry points of a distribution."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    with suppress(configparser.Error):
        parser.read_string(_text(entry_points))
        sections = (each for each in ("console_scripts", "gui_scripts") if parser.has_section(each))
        names = {name for each in sections for name in parser.options(each)}
        # pip's own scripts also exist with the version of Python, whatever its entry points are.
        versions = ("3", f"3.{sys.version_info.minor}", f"-3.{sys.version_info.minor}")
        return names | {f"{each}{version}" for each in names & {"pip", "easy_install"} for version in versions}
    return set()


def _digest_of_script(path: str) -> str:
    """Return the digest of a script without its shebang, which contains the path of the environment."""
    content = Path(path).read_bytes()
    return hashlib.sha256(INTERPRETER.sub(b"", content, count=1) if content[:2] == b"#!" else content).hexdigest()


def _others(root: str, listed: Iterable[str], digests: Digests) -> Iterator[tuple[str, str]]:
    """Yield the files that no distribution lists, except compiled ones."""
    for parent, folders, names in os.walk(root):
        links = [each for each in folders if os.path.islink(f"{parent}/{each}")]
        for path in (f"{parent}/{each}" for each in (*names, *links)):
            if path not in listed and not COMPILED.fullmatch(path):
                content = f"-> {os.readlink(path)}" if os.path.islink(path) else _hex(digests.of(path))
                yield os.path.relpath(path, root), content or "not a file"


def _hex(digest: bytes | None) -> str | None:
    return digest.hex() if digest else None


def main() -> None:
    """Write the inventory to the file in the first argument; the other arguments are names of checkouts."""
    target, *checkouts = sys.argv[1:]
    found = take_inventory(Path(sys.prefix), checkouts)
    if faults := [*found.missing, *found.changed]:
        sys.exit(f"{len(faults)} files of the environment are missing or damaged, such as {sys.prefix}/{faults[0]}")
    description = {
        **found._asdict(),
        "interpreter": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "build": " ".join(sys.version.split()),
            "executable": os.path.realpath(sys.executable),
        },
        "platform": platform.platform(),
    }
    Path(target).write_text(json.dumps(description), encoding="utf-8")


if __name__ == "__main__":
    main()
