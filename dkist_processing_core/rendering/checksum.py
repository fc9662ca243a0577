"""
A checksum in a generated text, which shows whether the text was modified after export.

Runs in: author and CI. People fill in and run a notebook where it was exported, and may edit or write a Dockerfile
themselves. So an export must not replace either of them unnoticed.
"""

import hashlib
import re

__all__ = ["PLACEHOLDER", "is_unmodified", "with_checksum"]

PLACEHOLDER = "sha256:" + "0" * 64
ANY_CHECKSUM = re.compile(rb"sha256:[0-9a-f]{64}")


def with_checksum(text: str) -> str:
    """Return a text with its digest in place of its last `PLACEHOLDER`."""
    before, _, after = text.rpartition(PLACEHOLDER)
    return f"{before}sha256:{hashlib.sha256(text.encode()).hexdigest()}{after}"


def is_unmodified(content: bytes) -> bool:
    """Return whether a content is an unchanged result of `with_checksum`."""
    found = list(ANY_CHECKSUM.finditer(content))
    if not found:
        return False
    start, end = found[-1].span()
    original = content[:start] + PLACEHOLDER.encode() + content[end:]
    return content[start:end] == b"sha256:" + hashlib.sha256(original).hexdigest().encode()
