"""
The folder of the messages that could not be published, one file per message, written completely or not at all.

Runs in: worker, DAG processor, and wherever a person looks at the pending messages, with the standard library alone.

The configured folder may contain other files as well. So only regular files whose names have our form, in a folder that
contains our `MARK`, are ever read, renamed or removed. The reasons why a message was refused are in a second file
beside it. After `TRIES` refusals, both files are moved to the subfolder `SET_ASIDE`.
"""

from dkist_processing_core.isb.spool.contents import REPORTED, Contents, contents, pending, pending_count
from dkist_processing_core.isb.spool.folder import MARK, has_mark, lock, prepare, spool_folder
from dkist_processing_core.isb.spool.message import (
    LARGEST_BYTES,
    MESSAGE,
    PART,
    REASON_SUFFIX,
    SET_ASIDE,
    TRIES,
    SpooledMessage,
    note_refusal,
    read,
    remove,
    write,
)

__all__ = [
    "LARGEST_BYTES",
    "MARK",
    "MESSAGE",
    "PART",
    "REASON_SUFFIX",
    "REPORTED",
    "SET_ASIDE",
    "TRIES",
    "Contents",
    "SpooledMessage",
    "contents",
    "has_mark",
    "lock",
    "note_refusal",
    "pending",
    "pending_count",
    "prepare",
    "read",
    "remove",
    "spool_folder",
    "write",
]
