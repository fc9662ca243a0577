"""
The import path of the failure callback in DAG files that the oldest releases exported.

Runs in: scheduler, worker.
"""

from dkist_processing_core.failure_callback import chat_ops_notification

__all__ = ["chat_ops_notification"]
