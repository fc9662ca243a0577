"""A disk whose power can be cut: an ext4 file system with its default options, in an image that is mounted."""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The ioctl by which a file system stops at once, and the flag by which not even its journal is written any more.
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN of linux/ext4.h
WITHOUT_JOURNAL = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH


class Disk:
    """A mounted image of ext4."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image = image
        self.folder = folder

    def mount(self) -> None:
        """Mount the image; `CalledProcessError` if it cannot be mounted."""
        subprocess.run(["mount", "-o", "loop", self.image, self.folder], check=True, capture_output=True)

    def cut(self) -> None:
        """Lose all that is not on the disk at this moment; nothing is written until `restore`."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, WITHOUT_JOURNAL)
        except OSError as error:
            pytest.skip(f"optional: a file system cannot be stopped here: {error}")
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        """
        Mount what the disk holds after the power cut.

        That is a copy of the image, since another mount namespace of this machine may still have the first one mounted.
        """
        subprocess.run(["umount", self.folder], check=True)
        copy = self.image.with_name(f"copy-of-{self.image.name}")
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        copy.replace(self.image)
        self.mount()


@contextmanager
def mounted_disk(folder: Path) -> Iterator[Disk]:
    """Mount a disk of its own in a folder, which is made; skip the test where that cannot be done."""
    image = folder.with_name(f"{folder.name}.ext4")
    with image.open("wb") as file:
        file.truncate(512 * 1024**2)
    folder.mkdir()
    disk = Disk(image, folder)
    # The folders of root's programs, which PATH may lack.
    mkfs = shutil.which("mkfs.ext4") or shutil.which("mkfs.ext4", path="/usr/sbin:/sbin") or "mkfs.ext4"
    try:
        subprocess.run([mkfs, "-q", "-F", image], check=True, capture_output=True)
        disk.mount()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"").decode(errors="replace").strip() or error
        pytest.skip(f"optional: an image of a disk can be neither made nor mounted here: {reason}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", folder], check=True)
        image.unlink()
