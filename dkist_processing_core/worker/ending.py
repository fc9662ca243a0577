"""
The end of the worker programs: with an outcome and an exit status, whatever happens.

Runs in: worker.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dkist_processing_core.common.outcome import INCOMPLETE, OUTCOME_VARIABLE, Outcome
from dkist_processing_core.worker import log
from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.supervise import Supervisor

__all__ = ["run_to_outcome"]


def run_to_outcome(work: Callable[[Supervisor], Outcome]) -> int:
    """Run a program's function, write its outcome to the log and to ``DKIST_OUTCOME``, and return the exit status."""
    supervisor = Supervisor()
    try:
        outcome = work(supervisor)
    except WorkerError as error:
        log.error(str(error))
        outcome = Outcome(state="failed", summary=str(error), exit_status=error.status)
    except Exception as error:
        import traceback

        log.error(f"the worker program failed; please report this.\n{''.join(traceback.format_exception(error))}")
        outcome = Outcome(state="failed", summary=f"the worker program failed: {error!r}", exit_status=INCOMPLETE)
    log.outcome(outcome.to_json())
    if path := os.environ.get(OUTCOME_VARIABLE):
        with suppress(OSError):
            Path(path).write_text(outcome.to_json(), encoding="utf-8")
    return outcome.exit_status or 0
