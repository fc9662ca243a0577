"""
The module from which files that the oldest releases exported import the failure callback.

Runs in: scheduler, worker.
"""

from dkist_processing_core.failure_callback import chat_ops_notification

__all__ = ["chat_ops_notification"]
