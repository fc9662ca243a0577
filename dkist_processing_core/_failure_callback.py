"""
The module that files exported by the oldest released versions import the failure callback from.

Runs in: scheduler, worker.
"""

from dkist_processing_core.failure_callback import chat_ops_notification

__all__ = ["chat_ops_notification"]
