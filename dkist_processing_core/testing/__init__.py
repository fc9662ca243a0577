"""
Support for the tests of a client package: record in memory what tasks do, and run exported DAGs.

Runs in: author and CI. It needs neither pytest nor a telemetry back end nor a broker, and imports none of them.
"""

from dkist_processing_core.telemetry.memory.spans import RecordedSpan, RecordedTask
from dkist_processing_core.testing.dags import ExportedDagError, ExportedRun, load_exported_dag, run_exported_dag
from dkist_processing_core.testing.metrics import Measurement, RecordedMetric
from dkist_processing_core.testing.recorder import Recorded, recorded

__all__ = [
    "ExportedDagError",
    "ExportedRun",
    "Measurement",
    "Recorded",
    "RecordedMetric",
    "RecordedSpan",
    "RecordedTask",
    "load_exported_dag",
    "recorded",
    "run_exported_dag",
]
