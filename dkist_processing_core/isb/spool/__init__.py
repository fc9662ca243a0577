"""
The folder of the messages that the broker did not take, one file a message, written whole or not at all.

Runs in: worker, DAG processor, and wherever a person looks at the pending messages, with the standard library alone.

Somebody may name a folder that holds other things as well. So only regular files whose names have our form, in a folder
that carries our `MARK`, are ever read, renamed or removed. A message that was refused has its reasons in a second file
beside it; after `TRIES` of them, both are in the subfolder `SET_ASIDE`.
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
