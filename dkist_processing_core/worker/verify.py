"""
Check an environment that was just built: all files are what was installed, on the disk, and a task can be run.

Runs in: task environment, as a program by its path, with the standard library alone.
"""

import csv
import hashlib
import os
import sys
import sysconfig
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """End with a message unless the environment is complete."""
    # Only what the installer has put there: an editable checkout has lists of its own, of another shape.
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if faults := [fault for folder in folders for fault in _faults(Path(folder))]:
        sys.exit(f"{len(faults)} files of the environment are missing or damaged, such as {faults[0]}")
    try:
        import_module("dkist_processing_core.runtime.main")
    except ImportError as error:
        sys.exit(
            f"this environment cannot run a task: {error}. The release that is installed here must depend on "
            "dkist-processing-core 8 or later."
        )
    try:
        _write_to_disk(sys.prefix)
    except OSError as error:
        sys.exit(f"the environment cannot be written to the disk: {error}")


def _faults(folder: Path) -> Iterator[str]:
    """Yield the files that are not what the lists of the installed distributions say."""
    # Two distributions may have a file of the same path, of which the last one stays.
    expected: dict[Path, set[str]] = {}
    for info in folder.glob("*.dist-info"):
        rows = _rows(info / "RECORD")
        # A list that a power cut has shortened does not name all files, but is complete to read.
        if not {f"{info.name}/METADATA", f"{info.name}/RECORD"} <= {row[0] for row in rows}:
            yield f"{info.name}/RECORD"
        for path, digest, *_ in rows:
            expected.setdefault(folder / path, set()).add(digest)
    for file, digests in expected.items():
        if file.suffix != ".pyc" and not _has_one_of(file, digests):
            yield str(file)


def _rows(record: Path) -> list[list[str]]:
    """Return the rows of a list of files (path, digest, size); empty if it cannot be read."""
    with suppress(OSError, UnicodeDecodeError, csv.Error), record.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if len(row) > 1]
    return []


def _has_one_of(file: Path, digests: set[str]) -> bool:
    try:
        for name, _, digest in (each.partition("=") for each in digests):
            if not digest:
                return file.exists()
            with file.open("rb") as content:
                found = hashlib.file_digest(content, name).digest()
            if urlsafe_b64encode(found).decode().rstrip("=") == digest:
                return True
    except OSError:
        return False
    return False


def _write_to_disk(folder: str) -> None:
    """Return when all files in a folder are on the disk, with all else that its file system holds."""
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        write = library.syncfs
    except (AttributeError, ImportError):  # not Linux, or a Python without ctypes
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if write(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
