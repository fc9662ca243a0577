"""Small distributions, for tests of what is resolved and installed."""

import csv
import hashlib
import io
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *requires: str,
    extras: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """
    Put a wheel that depends on these requirements into a folder.

    Its files are by their paths in it, where ``{info}`` is the folder of its metadata; a module by default.
    """
    information = f"{name}-{version}.dist-info"
    fields = [("Metadata-Version", "2.1"), ("Name", name), ("Version", version)]
    fields += [("Provides-Extra", extra) for extra in extras]
    fields += [("Requires-Dist", requirement) for requirement in requires]
    files = {f"{name}.py": f"VERSION = {version!r}\n"} if files is None else files
    texts = {path.format(info=information): text for path, text in files.items()}
    texts[f"{information}/METADATA"] = "".join(f"{key}: {value}\n" for key, value in fields)
    texts[f"{information}/WHEEL"] = WHEEL
    listed = f"{information}/RECORD"
    record = io.StringIO()
    rows = [[path, _digest(text), len(text.encode())] for path, text in texts.items()]
    csv.writer(record, lineterminator="\n").writerows([*rows, [listed, "", ""]])
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**texts, listed: record.getvalue()}.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    return f"sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')}"
