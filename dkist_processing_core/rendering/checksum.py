"""
A checksum inside of a generated text, by which it is told whether somebody has changed it.

Runs in: author and CI. A notebook is filled in and run where it lies, and a Dockerfile is a thing that people write
themselves. So each carries a checksum of its own text, and a new export takes the place of no file that differs.
"""

import hashlib
import re

__all__ = ["PLACEHOLDER", "is_unchanged", "with_checksum"]

PLACEHOLDER = "sha256:" + "0" * 64
ANY_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")


def with_checksum(text: str) -> str:
    """
    Return a text with its digest in the place of the last `PLACEHOLDER` in it.

    Parameters
    ----------
    text
        The text; what stands in it before the last `PLACEHOLDER` may look like one.
    """
    before, _, after = text.rpartition(PLACEHOLDER)
    return f"{before}sha256:{hashlib.sha256(text.encode()).hexdigest()}{after}"


def is_unchanged(text: str) -> bool:
    """Tell whether a text is exactly what `with_checksum` has returned once."""
    found = list(ANY_CHECKSUM.finditer(text))
    if not found:
        return False
    return with_checksum(text[: found[-1].start()] + PLACEHOLDER + text[found[-1].end() :]) == text
