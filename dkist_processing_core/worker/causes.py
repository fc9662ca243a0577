"""
Find the cause of an installer's failure in its messages.

Runs in: worker.
"""

import re
import signal
from collections.abc import Iterable
from typing import NamedTuple

from dkist_processing_core.worker.supervise import SIGNALLED

__all__ = ["NOT_FOUND", "Cause", "cause"]

LINE_CHARACTERS = 300
NOT_FOUND = "Check that this release is on the package index that this worker uses, and that the worker may read it."
# Patterns of messages of uv and pip, with the remedies. The most reliable ones come first: if a release is not found,
# its index may not have answered. The second half are messages that a damaged cache, or one of another user, can cause.
# No pattern matches a part of a name with hyphens, since a message may contain packages such as async-timeout.
NOT_BY_CACHE = {
    # pip names the file in the line after its message.
    r"hash mismatch for|^[^ ]+==[^ ]+ from .*:$": (
        "A file on the package index differs from the one in the lock file of the workflow: it was replaced later. If "
        "that is intended, lock the environment again."
    ),
    r"this environment cannot run a task": "Another build of the same release would not help.",
    r"no space left|disk quota exceeded": (
        "The file system is full: it has no more space, or no more inodes (df -h, df -i). Run "
        "dkist-processing-core environments prune with a limit."
    ),
    r"too many open files|resource temporarily unavailable|cannot allocate memory|memory allocation of": (
        "A limit of the worker on processes, open files or memory keeps the installer from working. Raise that limit."
    ),
    r"certificate|\b(ssl|tls)\b(?!-).*error": (
        "The certificate of the package index is not trusted. Name the certificates to trust with PIP_CERT."
    ),
    r"not a trusted or secure host": (
        "The package index is ignored, since its address begins with http://. Name its host in PIP_TRUSTED_HOST."
    ),
    r"(http|client) error \(?(401|403|407)\b|\b(401|403|407) (client )?error|unauthorized|\bforbidden\b"
    r"|proxy authentication required": (
        "The package index, or the proxy, refuses access. Check user name and password in PIP_INDEX_URL or PIP_PROXY."
    ),
    r"error sending request|request failed after|failed to lookup address|name or service not known"
    r"|connection (error|refused|reset|broken)|connect error|dns error|timed out|gateway time-?out|unreachable": (
        "The package index cannot be reached. Check its address, the proxy if there is one (PIP_PROXY, https_proxy, "
        "http_proxy), and the network; if they are right, try again."
    ),
    r"(client|server) error \(\d+|http error \d+|\b5\d\d (server )?error|unsupported .content-type.": (
        "The server at the address of the package index does not answer as an index does. Check the address, and the "
        "log of the server or proxy there; if both are right, try again."
    ),
}
MAYBE_BY_CACHE = {
    r"permission denied|read-only file system|operation not permitted": (
        "The installer may not read, write or run a file that it needs. Correct the owner, mode or mount of that file."
    ),
    r"no version of|not found in the|no matching distribution|could not find a version": NOT_FOUND,
    r"no solution found|resolutionimpossible|conflicting dependencies": (
        "The requirements of the release, its dependencies and the constraints are in conflict. Correct one of them."
    ),
}


class Cause(NamedTuple):
    """Why an installer has failed, with the remedy, and whether its cache may be the cause."""

    text: str
    may_be_its_cache: bool


def cause(status: int, output: Iterable[str]) -> Cause:
    """Find the cause in the exit status and the last lines of an installer."""
    if status == SIGNALLED + signal.SIGKILL:
        text = "It was killed (SIGKILL); if nobody killed it, the worker ran out of memory."
        return Cause(text, may_be_its_cache=False)
    lines = [line for line in output if line]
    for pattern, remedy in {**NOT_BY_CACHE, **MAYBE_BY_CACHE}.items():
        for line in lines:
            if re.search(rf"(?<![-_])(?:{pattern})(?![-_])", line, re.IGNORECASE):
                return Cause(f"{remedy} It says: {line[:LINE_CHARACTERS]}", pattern in MAYBE_BY_CACHE)
    last = f", its last line: {lines[-1][:LINE_CHARACTERS]}" if lines else "."
    return Cause(f"Its exit status is {status}{last}", may_be_its_cache=True)
