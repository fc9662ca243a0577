"""
Why an installer has failed, according to its messages.

Runs in: worker.
"""

import re
import signal
from collections.abc import Iterable

from dkist_processing_core.worker.supervise import SIGNALLED

__all__ = ["cause"]

LINE_CHARACTERS = 300
# Patterns of the messages of uv and pip, and what to do. The surest come first: a release that is not found may only be
# one whose index did not answer.
REMEDIES = {
    r"no space left|disk quota exceeded": (
        "The file system is full: it has no more space, or no more inodes (df -h, df -i). Run "
        "dkist-processing-core environments prune with a limit."
    ),
    r"permission denied|read-only file system|operation not permitted": (
        "The installer may not read, write or run a file that it needs. Correct the owner, the mode or the mount of it."
    ),
    r"certificate|\b(ssl|tls)\b.*error": (
        "The certificate of the package index is not trusted. Name the certificates to trust with PIP_CERT."
    ),
    r"not a trusted or secure host": (
        "The package index is ignored, since its address begins with http://. Name its host in PIP_TRUSTED_HOST."
    ),
    r"http error (401|403|407)\b|unauthorized|forbidden|proxy authentication required": (
        "The package index, or the proxy, refuses access. Check user name and password in PIP_INDEX_URL or PIP_PROXY."
    ),
    r"error sending request|request failed after|failed to lookup address|name or service not known"
    r"|connection (error|refused|reset|broken)|connect error|dns error|timed? ?out|unreachable": (
        "The package index cannot be reached. Check its address and the network; if both are right, try again."
    ),
    r"no version of|not found in the|no matching distribution|could not find a version": (
        "Check that this release is on the package index that this worker uses."
    ),
    r"no solution found|resolutionimpossible|conflicting dependencies": (
        "What the release, its dependencies and the constraints require cannot be had together. Correct one of them."
    ),
}


def cause(status: int, output: Iterable[str]) -> str:
    """Return what the exit status of an installer and its last lines say about the cause, and what to do."""
    if status == SIGNALLED + signal.SIGKILL:
        return "It was killed (SIGKILL); if nobody did that, the worker ran out of memory."
    lines = [line for line in output if line]
    for pattern, remedy in REMEDIES.items():
        for line in lines:
            if re.search(pattern, line, re.IGNORECASE):
                return f"{remedy} It says: {line[:LINE_CHARACTERS]}"
    return f"Its exit status is {status}" + (f", its last line: {lines[-1][:LINE_CHARACTERS]}" if lines else ".")
