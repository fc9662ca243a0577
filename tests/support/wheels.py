"""Small distributions, for tests of what is resolved and installed."""

import csv
import hashlib
import io
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(folder: Path, name: str, version: str, *requires: str, extras: tuple[str, ...] = ()) -> Path:
    """Put a wheel that depends on these requirements into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    information = f"{name}-{version}.dist-info"
    fields = [("Metadata-Version", "2.1"), ("Name", name), ("Version", version)]
    fields += [("Provides-Extra", extra) for extra in extras]
    fields += [("Requires-Dist", requirement) for requirement in requires]
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{information}/METADATA": "".join(f"{key}: {value}\n" for key, value in fields),
        f"{information}/WHEEL": WHEEL,
    }
    return _pack(folder, name, version, files)


def make_wheel_of(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Put a wheel with these files, by their paths in it, into a folder; ``{info}`` is the folder of its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    information = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    own = {f"{information}/METADATA": metadata, f"{information}/WHEEL": WHEEL}
    return _pack(folder, name, version, {path.format(info=information): text for path, text in files.items()} | own)


def _pack(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    record = io.StringIO()
    listed = f"{name}-{version}.dist-info/RECORD"
    rows = [[path, _digest(text), len(text.encode())] for path, text in files.items()]
    csv.writer(record, lineterminator="\n").writerows([*rows, [listed, "", ""]])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, listed: record.getvalue()}.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    return f"sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')}"
