"""What holds for telemetry whatever the back end: both at once, none, several tasks in one process."""

import textwrap

import pytest
from support.apm import intake
from support.command_line import run_python
from support.recorded_tasks import CORE, TASK, assert_unchanged, run_task

pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")

from support.otlp import http_collector

EMPTY_PHASES = [("Pre Run", CORE, []), ("Run", CORE, []), ("Post Run", CORE, [])]


@pytest.fixture
def recorded():
    """Run with both back ends on."""

    class Recorded:
        def on(self):
            """Return the settings that switch both on."""
            return {
                "ELASTIC_APM_ENABLED": "true",
                "MESH_CONFIG": self.intake.mesh_config,
                "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.url,
            }

        def names(self):
            """Return the names of the transactions, which are those of the root spans."""
            names = [transaction["name"] for transaction in self.intake.transactions]
            assert sorted(names) == sorted(root.name for root in self.collector.roots)
            return names

        def trees(self):
            """Return the tree below each transaction, which is the one below the root span."""
            trees = [self.intake.tree(transaction) for transaction in self.intake.transactions]
            roots = {root.id: root for root in self.collector.roots}
            assert trees == [self.collector.tree(roots[each["id"]]) for each in self.intake.transactions]
            return trees

    made = Recorded()
    with intake() as made.intake, http_collector() as made.collector:
        yield made


def test_a_span_of_both_back_ends_has_the_methods_of_one(recorded):
    """Those of OpenTelemetry's spans."""
    done = run_task(
        """
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def run(self):
                with self.telemetry_span("first name", attributes={"a": 1}) as span:
                    span.update_name("last name")
                    span.set_attributes({"b": 2, "self": 3})
                    span.add_event("seen")
                    span.record_exception(ValueError("odd"))
                    assert span.is_recording() and span.get_span_context().is_valid
                print("done")
        """,
        **recorded.on(),
    )
    assert_unchanged(done)
    assert recorded.trees() == [
        [EMPTY_PHASES[0], ("Run", CORE, [("last name", {"a": 1, "b": 2, "self": 3}, [])]), EMPTY_PHASES[2]]
    ]
    assert [error["exception"]["message"] for error in recorded.intake.errors] == ["ValueError: odd"]
    assert [name for name, _ in recorded.collector.span("last name").events] == ["seen", "exception"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"ELASTIC_APM_ENABLED": "false", "OTEL_TRACES_EXPORTER": "otlp"}, []),
        ({"ELASTIC_APM_ENABLED": "true"}, ["elasticapm"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, ["opentelemetry"]),
    ],
    ids=["nothing", "switched off", "elastic", "opentelemetry"],
)
def test_a_back_end_that_is_not_switched_on_is_not_imported(settings, expected):
    """In a fresh interpreter that runs a whole task."""
    done = run_python(
        """
        import sys
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def run(self):
                with self.apm_step("a"), self.telemetry_span("b") as span:
                    span.set_attribute("c", 1)
                self.meter.create_counter("c").add(1)
                with self.tracer.start_as_current_span("d"):
                    pass

        with Calibrate(1, "w", "1") as task:
            task()
        print([name for name in ("elasticapm", "opentelemetry") if name in sys.modules])
        """,
        **settings,
    )
    assert done.stdout == f"{expected}\n", done.stderr


NOTEBOOK = """
    import contextlib, os
    from dkist_processing_core import TaskBase

    class First(TaskBase):
        def run(self):
            with self.apm_step("one"):
                pass

    class Second(TaskBase):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.counter = self.meter.create_counter("seen")
        def run(self):
            self.counter.add(1)
            with self.apm_step("two"):
                pass

    class Failing(TaskBase):
        def run(self):
            raise ValueError("odd")

    def made(task_class):
        return task_class(7, "w", "1")
"""
LAST_CELL = """
    print("done", os.environ.get("TRACEPARENT"))
"""


def notebook(cells):
    """Return the program that a notebook is."""
    return "\n".join(map(textwrap.dedent, (NOTEBOOK, cells, LAST_CELL)))


ONE = [EMPTY_PHASES[0], ("Run", CORE, [("one", {}, [])]), EMPTY_PHASES[2]]
TWO = [EMPTY_PHASES[0], ("Run", CORE, [("two", {}, [])]), EMPTY_PHASES[2]]
CELLS = {
    "one after the other": """
    for task_class in (First, Second, Failing, First):
        with contextlib.suppress(ValueError), made(task_class) as task:
            task()
        """,
    "called twice inside a with statement": """
    with made(First) as task:
        task()
        task()
        """,
    "called without a with statement": """
    task = made(First)
    task()
    task()
    with contextlib.suppress(ValueError):
        made(Failing)()
        """,
    "made and never run": """
    made(Second)
    never_run = made(Second)
    with made(First) as task:
        task()
        """,
    "all made before one is run": """
    for task in [made(Second), made(First), made(Second)]:
        task()
        """,
    "entered in turns": """
    with made(Second) as outer, made(First) as inner:
        outer()
        inner()
        """,
}
# The tasks that are recorded, in order.
RECORDED = {
    "one after the other": ["w.First", "w.Second", "w.Failing", "w.First"],
    "called twice inside a with statement": ["w.First"],
    "called without a with statement": ["w.First", "w.First", "w.Failing"],
    "made and never run": ["w.First"],
    "all made before one is run": ["w.Second", "w.First", "w.Second"],
    "entered in turns": ["w.First", "w.Second"],
}


@pytest.mark.parametrize("name", CELLS)
def test_each_task_of_a_notebook_is_one_transaction(name, recorded):
    """Several tasks in one process do not get into each other's records, on either back end."""
    done = run_python(notebook(CELLS[name]), **recorded.on())
    assert_unchanged(done, stdout="done None\n")
    assert recorded.names() == RECORDED[name]
    trees = {"w.First": ONE * 2 if "twice" in name else ONE, "w.Second": TWO, "w.Failing": EMPTY_PHASES[:2]}
    assert recorded.trees() == [trees[each] for each in RECORDED[name]]
    assert all("parent_id" not in transaction for transaction in recorded.intake.transactions)
    assert done.stderr == ""


def test_a_task_within_a_task_is_a_child_of_it(recorded):
    """Each with its own spans."""
    done = run_python(
        notebook("""
    class Outer(TaskBase):
        def run(self):
            with self.apm_step("before"):
                with made(First) as task:
                    task()
                with self.apm_step("within"):
                    pass
            with self.apm_step("after"):
                pass
    with made(Outer) as task:
        task()
        """),
        **recorded.on(),
    )
    assert_unchanged(done, stdout="done None\n")
    inner, outer = recorded.intake.transactions
    assert (inner["name"], inner["parent_id"], inner["trace_id"]) == ("w.First", outer["id"], outer["trace_id"])
    assert recorded.intake.tree(inner) == ONE
    steps = [("before", {}, [("within", {}, [])]), ("after", {}, [])]
    assert recorded.intake.tree(outer) == [EMPTY_PHASES[0], ("Run", CORE, steps), EMPTY_PHASES[2]]
    roots = {root.name: root for root in recorded.collector.roots}
    assert roots["w.First"].parent == roots["w.Outer"].id
    assert recorded.collector.tree(roots["w.First"]) == ONE
    assert [tree for tree in recorded.collector.tree(roots["w.Outer"]) if tree[0] == "Run"] == [("Run", CORE, steps)]


def test_the_tracer_records_on_the_only_back_end():
    """Code that is written with OpenTelemetry's tracer records on Elastic APM as well."""
    with intake() as received:
        done = run_task(
            TASK.replace(
                'print("done")', 'with self.tracer.start_as_current_span("t", attributes={"a": 1}): print("done")'
            ),
            ELASTIC_APM_ENABLED="true",
            MESH_CONFIG=received.mesh_config,
        )
    assert_unchanged(done)
    assert received.span("t")["context"]["tags"] == {"a": 1}


def test_spans_of_threads_are_children_of_the_task(recorded):
    """A thread knows no task of its own, so its spans begin below that of the task."""
    done = run_task(
        """
        from concurrent.futures import ThreadPoolExecutor
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def frame(self, number):
                with self.apm_step(f"frame {number}"):
                    with self.apm_step(f"part of {number}"):
                        pass
            def run(self):
                with ThreadPoolExecutor(4) as pool:
                    list(pool.map(self.frame, range(20)))
                print("done")
        """,
        **recorded.on(),
    )
    assert_unchanged(done)
    [root] = recorded.collector.roots
    for tree in (recorded.intake.tree(recorded.intake.transaction), recorded.collector.tree(root)):
        below = {name: children for name, _, children in tree}
        assert [below[f"frame {number}"] for number in range(20)] == [
            [(f"part of {number}", {}, [])] for number in range(20)
        ]


def test_values_that_only_look_like_numbers_are_recorded_as_numbers(recorded):
    """Fractions and what stands in for numpy's scalars, which is not installed here."""
    done = run_task(
        """
        from enum import IntEnum, StrEnum
        from fractions import Fraction
        from numbers import Integral
        from dkist_processing_core import TaskBase

        class Int64:
            def __int__(self): return 5

        Integral.register(Int64)

        class Float64(float):
            pass

        class Kind(StrEnum):
            DARK = "dark"

        class Number(IntEnum):
            ONE = 1

        class Calibrate(TaskBase):
            def run(self):
                with self.apm_step("s", labels={"a": Int64(), "b": Float64(2.5), "c": Fraction(1, 2)}) as span:
                    span.set_attribute("d", Kind.DARK)
                    span.set_attribute("e", Number.ONE)
                print("done")
        """,
        **recorded.on(),
    )
    assert_unchanged(done)
    expected = {"a": 5, "b": 2.5, "c": 0.5, "d": "dark", "e": 1}
    assert recorded.intake.span("s")["context"]["tags"] == recorded.collector.span("s").attributes == expected
