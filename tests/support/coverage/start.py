"""
Measure the coverage of this library in each process that imports it.

Every Python of the environment that `install.py` has prepared imports this at its start. The tests start some ten
thousand processes, and to import coverage takes longer than most of them. So this loads nothing of coverage but its
tracer, which is an extension module without dependencies, and leaves what the tracer saw to `report.py`, as a
dictionary of marshal from the name of a file to a set of arcs: pairs of line numbers packed into an integer, see
`CTracer_record_pair` in coverage's `ctracer/tracer.c`.
"""

import os
import sys

PACKAGE = "dkist_processing_core"
ROOT = os.path.abspath(os.path.join(os.path.realpath(__file__), *[os.pardir] * 4))
DATA = os.path.join(ROOT, ".build", "coverage")
# Packages of their own.
OMITTED = f"/{PACKAGE}/project/template/"


class Hook:
    """Finds nothing; the first search for the package starts the measurement."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == PACKAGE and self in sys.meta_path:
            sys.meta_path.remove(self)
            start()


def start() -> None:
    import atexit
    import marshal
    import threading
    import time
    from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
    from importlib.util import module_from_spec

    name = "coverage.tracer"
    paths = (os.path.join(each, "coverage", f"tracer{suffix}") for each in sys.path for suffix in EXTENSION_SUFFIXES)
    path = next(filter(os.path.exists, paths))
    loader = ExtensionFileLoader(name, path)
    extension = module_from_spec(ModuleSpec(name, loader, origin=path))
    loader.exec_module(extension)
    arcs: dict[str, set[int]] = {}
    known: dict[str, object] = {}
    tracers: list[object] = []  # one that is freed stops the tracing of the thread that frees it

    def disposition(filename: str, frame: object) -> object:
        made = extension.CFileDisposition()
        made.original_filename = made.canonical_filename = made.source_filename = filename
        made.trace = f"/{PACKAGE}/" in filename and OMITTED not in filename and os.path.exists(filename)
        made.reason, made.file_tracer, made.has_dynamic_filename = "", None, False
        return made

    def trace() -> object:
        """Trace the thread that calls this."""
        tracer = extension.CTracer()
        tracer.data, tracer.trace_arcs = arcs, True
        tracer.should_trace, tracer.should_trace_cache = disposition, known
        tracer.file_tracers = {}
        tracer.lock_data = tracer.unlock_data = lambda: None  # a lock could be held while the process forks
        tracer.warn = lambda *arguments, **options: None
        tracer.concur_id_func = tracer.should_start_context = tracer.switch_context = tracer.disable_plugin = None
        tracers.append(tracer)
        return tracer.start()

    def trace_thread(frame: object, event: str, argument: object) -> object:
        sys.settrace(None)
        function = trace()
        return function(frame, event, argument) if callable(function) else None

    def save() -> None:
        """Write what was executed until now; a file that a killed process has not finished has another name."""
        try:
            name = os.path.join(DATA, f"{os.getpid()}-{time.time_ns()}")
            with open(f"{name}.new", "wb") as file:
                marshal.dump({each: executed.copy() for each, executed in arcs.copy().items()}, file)
            os.rename(f"{name}.new", f"{name}.arcs")
        except Exception:
            pass  # what a test forbids this process must not become an error of that test

    def saving(leave):  # type: ignore[no-untyped-def]
        def save_and_leave(*arguments, **options):  # type: ignore[no-untyped-def]
            save()
            return leave(*arguments, **options)

        return save_and_leave

    atexit.register(save)
    os._exit, os.execv, os.execve = saving(os._exit), saving(os.execv), saving(os.execve)
    threading.settrace(trace_thread)  # type: ignore[arg-type]
    trace()


sys.meta_path.insert(0, Hook())
