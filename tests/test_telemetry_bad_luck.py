"""Telemetry never changes a task's result, whatever happens to it, and never delays its end by more than a bound."""

import contextlib
import signal
import time
from pathlib import Path

import pytest
from support import apm
from support.mesh import mesh_config
from support.peers import peer, swallowing
from support.ports import free_ports
from support.processes import wait_for
from support.recorded_tasks import CORE, PHASES, TASK, assert_unchanged, run_task, start_task

pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")

from support import otlp
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most

pytestmark = pytest.mark.once

# What switches each on, given the port of its server.
ON = {
    "elastic": lambda port: {"ELASTIC_APM_ENABLED": "true", "MESH_CONFIG": mesh_config({apm.SERVICE: port})},
    "otlp": lambda port: {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"},
    "otlp of the mesh": lambda port: {"MESH_CONFIG": mesh_config({otlp.TRACES: port, otlp.METRICS: port})},
}
GARBAGE = b"\x00\xff\x15garbage\r\n\r\n" * 100


@pytest.fixture(params=["elastic", "otlp"])
def recorded(request):
    """Run against a server that takes everything, on either back end."""

    class Recorded:
        @property
        def on(self):
            """The settings that switch it on."""
            return ON[request.param](self.server.port)

        @property
        def roots(self):
            """Name of each transaction or root span, and whether it is a success."""
            if request.param == "elastic":
                return [(each["name"], each["outcome"] == "success") for each in self.server.transactions]
            return [(each.name, each.status == 1) for each in self.server.roots]

        @property
        def trees(self):
            """The tree below each."""
            roots = self.server.transactions if request.param == "elastic" else self.server.roots
            return [self.server.tree(each) for each in roots]

        @property
        def span_ids(self):
            """Ids of all spans but the roots."""
            if request.param == "elastic":
                return [span["id"] for span in self.server.spans]
            return [span.id for span in self.server.spans if "dkist.root" not in span.attributes]

        @property
        def errors(self):
            """Message of each error of a task."""
            if request.param == "elastic":
                return [error["exception"]["message"] for error in self.server.errors]
            return [root.message for root in self.server.roots if root.message]

    if request.param == "otlp of the mesh":
        pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="the exporter by gRPC is not installed")
    servers = {"elastic": apm.intake, "otlp": otlp.http_collector, "otlp of the mesh": otlp.grpc_collector}
    made = Recorded()
    with servers[request.param]() as made.server:
        yield made


@contextlib.contextmanager
def down():
    """A port on which no server listens."""
    yield free_ports(1)[0]


def silent():
    """A server that accepts and never answers."""
    return peer(lambda connection: None)


def babbling():
    """A server that answers with garbage."""

    def answer(connection):
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(GARBAGE)
            connection.close()

    return peer(answer)


def slow():
    """A server whose answer never ends."""

    def answer(connection):
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            for _ in range(100):
                time.sleep(0.1)
                connection.sendall(b"x")

    return peer(answer)


SERVERS = {"down": down, "swallowing": swallowing, "silent": silent, "garbage": babbling, "endless": slow}


@pytest.mark.usefixtures("production_bounds")
@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
@pytest.mark.parametrize("on", ON.values(), ids=ON)
def test_a_broken_server_changes_nothing(on, server):
    """No server, dropped packets, no answer, garbage, an endless answer: three seconds, and the end of Python."""
    task = TASK.replace('print("done")', 'print("done"); open("ran", "w").close()')
    with server() as port:

        def attempt():
            done = run_task(task, **on(port))
            ended = time.time()
            assert_unchanged(done)
            return ended - Path("ran").stat().st_mtime

        assert_takes_at_most(5, attempt)


@pytest.mark.parametrize("on", ON.values(), ids=ON)
def test_a_site_may_let_the_end_wait_longer(on):
    """A server that is slow to answer is waited for as long as DKIST_END_SECONDS says, and no longer."""
    task = TASK.replace('print("done")', 'print("done"); open("ran", "w").close()')
    with silent() as port:
        done = run_task(task, **on(port), DKIST_END_SECONDS="6")
        ended = time.time()
    assert_unchanged(done)
    assert ended - Path("ran").stat().st_mtime > 3.5


@pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500, 503])
@pytest.mark.parametrize("backend", ["elastic", "otlp"])
def test_a_server_that_refuses_changes_nothing(backend, status):
    """The server receives requests, and its answers have no effect on the task."""
    with apm.intake(status) if backend == "elastic" else otlp.http_collector(status) as received:
        # What is refused for a while is sent again and again, until the end.
        done = run_task(TASK, **ON[backend](received.port), DKIST_END_SECONDS="10")
    assert_unchanged(done)
    assert received.transactions if backend == "elastic" else received.roots


@pytest.mark.parametrize("backend", ["elastic", "otlp"])
def test_a_server_that_answers_nonsense_with_success_changes_nothing(backend):
    """The body of an answer is not what it should be."""
    server = apm.intake(body=GARBAGE) if backend == "elastic" else otlp.http_collector(body=GARBAGE)
    with server as received:
        assert_unchanged(run_task(TASK, **ON[backend](received.port)))


WAITING = """
    import time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class Calibrate(TaskBase):
        def run(self):
            for number in range(50):
                with self.apm_step("before"):
                    pass
            Path("waiting").write_text("1")
            while not Path("go").exists():
                time.sleep(0.05)
            with self.apm_step("after"):
                pass
            print("done")
"""


@contextlib.contextmanager
def started(source, **environment):
    """A task that runs beside the test."""
    process = start_task(source, **environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("backend", ["elastic", "otlp"])
def test_a_server_that_comes_back_gets_the_rest(backend):
    """What was sent while it was away is lost; the root and what ends later arrives."""
    [port] = free_ports(1)
    often = {"ELASTIC_APM_API_REQUEST_TIME": "500ms", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with started(WAITING, **ON[backend](port), **often) as process:
        wait_for(Path("waiting"))
        time.sleep(2)  # so that they are tried in vain
        with apm.intake(port=port) if backend == "elastic" else otlp.http_collector(port=port) as received:
            Path("go").touch()
            stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout) == (0, "done\n"), stderr
    assert len(received.transactions if backend == "elastic" else received.roots) == 1
    assert received.span("after")


@pytest.mark.usefixtures("production_bounds")
def test_a_server_that_goes_away_changes_nothing():
    """It was there when the task began, on both."""
    with contextlib.ExitStack() as servers:
        received, collected = servers.enter_context(apm.intake()), servers.enter_context(otlp.http_collector())
        with started(WAITING, **ON["elastic"](received.port), **ON["otlp"](collected.port)) as process:
            wait_for(Path("waiting"))
            servers.close()
            Path("go").touch()
            stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout) == (0, "done\n"), stderr


TASKS = {
    "left open": """
    def run(self):
        with self.apm_step("around"):
            self.apm_step("left open").__enter__()
            with self.apm_step("inside"):
                pass
        with self.apm_step("after"):
            pass
        self.left = self.apm_step("left for ever")
        self.left.__enter__()
        print("done")
    """,
    "closed in the wrong order": """
    def run(self):
        outer, inner = self.apm_step("outer"), self.apm_step("inner")
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        print("done")
    """,
    "never entered": """
    def run(self):
        self.apm_step("never entered")
        self.apm_step("only left").__exit__(None, None, None)
        print("done")
    """,
    "exception in a span": """
    def run(self):
        try:
            with self.apm_step("step") as span:
                raise ValueError("handled")
        except ValueError:
            print("done")
    """,
    "exception without text": """
    def run(self):
        class Mute(Exception):
            def __str__(self):
                raise TypeError
            __repr__ = __str__
        print("done")
        with self.apm_step("step"):
            raise Mute
    """,
    "exception with slots and surrogates": """
    def run(self):
        class Slim(BaseException):
            __slots__ = ()
        print("done")
        with self.apm_step("step"):
            raise ValueError("\\udc80" + "x" * 1_000_000) from Slim("cause")
    """,
    "group of exceptions": """
    def run(self):
        print("done")
        raise ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [TypeError(2)])])
    """,
    "endless recursion": """
    def run(self):
        print("done")
        def deeper():
            with self.apm_step("deeper"):
                deeper()
        deeper()
    """,
    "huge local variables": """
    def run(self):
        frames = [list(range(1000)) for _ in range(5000)]
        print("done")
        raise ValueError("huge")
    """,
    "sys.exit": """
    def run(self):
        print("done")
        raise SystemExit(3)
    """,
}
# Exit status, steps and errors of each, where they are known.
ENDS = {
    "left open": (
        0,
        [
            ("around", {}, [("left open", {"LEFT": True}, [("inside", {}, [])])]),
            ("after", {}, []),
            ("left for ever", {"LEFT": True}, []),
        ],
        [],
    ),
    "closed in the wrong order": (0, None, []),
    "never entered": (0, [], []),
    "exception in a span": (0, [("step", {}, [])], []),
    "exception without text": (1, [("step", {}, [])], None),
    "exception with slots and surrogates": (1, [("step", {}, [])], None),
    "group of exceptions": (1, [], None),
    "endless recursion": (1, None, None),
    "huge local variables": (1, [], ["huge"]),
    "sys.exit": (3, [], ["3"]),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_a_task_does_to_its_spans_is_recorded_and_harmless(name, recorded):
    """The task is one transaction with the spans that it made, and ends as it does without telemetry."""
    source = f"from dkist_processing_core import TaskBase\n\nclass Calibrate(TaskBase):\n{TASKS[name]}"
    returncode, steps, errors = ENDS[name]
    bare = run_task(source)
    assert (bare.returncode, bare.stdout) == (returncode, "done\n"), bare.stderr
    assert_unchanged(run_task(source, **recorded.on), returncode=returncode)
    assert recorded.roots == [("l0_to_l1_cam.Calibrate", returncode == 0)]
    if steps is not None:
        phases = [("Pre Run", CORE, []), ("Run", CORE, steps)] + ([("Post Run", CORE, [])] if not returncode else [])
        assert [named(tree) for tree in recorded.trees] == [phases]
    if errors is not None:
        assert [error.rpartition(": ")[2] for error in recorded.errors] == errors
    assert len(set(recorded.span_ids)) == len(recorded.span_ids)


def named(tree):
    """Return a tree in which the mark of a span that was left open has one name for both back ends."""
    marks = {"dkist_left_open", "dkist.left_open"}
    return [
        (name, {"LEFT" if key in marks else key: value for key, value in labels.items()}, named(children))
        for name, labels, children in tree
    ]


LIFE = """
    from dkist_processing_core import TaskBase

    class Calibrate(TaskBase):
        {method}
        def run(self):
            print("done")
"""
METHODS = {
    "pre_run": ("def pre_run(self): raise ValueError('odd')", ""),
    "post_run": ("def post_run(self): raise ValueError('odd')", "done\n"),
    "enter": ("def __enter__(self): super().__enter__(); raise ValueError('odd')", ""),
    "exit, after": ("def __exit__(self, *args): super().__exit__(*args); raise ValueError('odd')", "done\n"),
    "exit, before": ("def __exit__(self, *args): raise ValueError('odd')", "done\n"),
    "init, after": ("def __init__(self, *a, **k): super().__init__(*a, **k); self.meter; raise ValueError('odd')", ""),
}


@pytest.mark.parametrize(("method", "stdout"), METHODS.values(), ids=METHODS)
def test_an_exception_around_run_is_the_result_of_the_task(method, stdout, recorded):
    """In ``pre_run``, ``post_run``, ``__enter__``, ``__exit__`` and ``__init__`` of the task."""
    done = run_task(LIFE.format(method=method), **recorded.on)
    assert_unchanged(done, returncode=1, stdout=stdout)
    assert "ValueError: odd" in done.stderr
    if "_run" in method:
        assert recorded.roots == [("l0_to_l1_cam.Calibrate", False)]
        assert len(recorded.errors) == 1
    elif "super().__exit__" in method:
        assert recorded.roots == [("l0_to_l1_cam.Calibrate", True)]


def test_os_exit_is_the_end(recorded):
    """Nothing hangs; what was not sent is lost."""
    done = run_task(
        LIFE.format(method="").replace('print("done")', 'print("done", flush=True); import os; os._exit(5)'),
        **recorded.on,
    )
    assert_unchanged(done, returncode=5)
    assert recorded.roots == []


@pytest.mark.parametrize("recorded", ON, indirect=True)
def test_sigterm_is_an_orderly_end_that_is_recorded(recorded):
    """Exit status 143, and the transaction says that the task was terminated."""
    with started(WAITING, **recorded.on) as process:
        wait_for(Path("waiting"))
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout) == (143, ""), stderr
    assert recorded.roots == [("l0_to_l1_cam.Calibrate", False)]
    assert [error.partition(":")[0] for error in recorded.errors] == ["Terminated"]


@pytest.mark.usefixtures("production_bounds")
@pytest.mark.parametrize("on", ON.values(), ids=ON)
def test_sigterm_with_a_silent_server_ends_soon(on):
    """The end is bounded then as well."""

    def attempt():
        Path("waiting").unlink(missing_ok=True)
        with silent() as port, started(WAITING, **on(port)) as process:
            wait_for(Path("waiting"))
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 143
            return time.monotonic() - began

    assert_takes_at_most(5, attempt)


FORKS = {
    "fork that exits": """
        def run(self):
            for number in range(20):
                with self.apm_step("parent"):
                    child = os.fork()
                    if child == 0:
                        with self.apm_step("in child") as span:
                            span.set_attribute("a", 1)
                        os._exit(0)
                    assert os.waitpid(child, 0)[1] == 0
            print("done")
    """,
    "fork that returns": """
        def run(self):
            with self.apm_step("parent"):
                child = os.fork()
            if child == 0:
                with self.apm_step("in child"):
                    return
            assert os.waitpid(child, 0)[1] == 0
            print("done")
    """,
    "multiprocessing by fork": """
        def work(self, number):
            with self.apm_step("in child"), self.telemetry_span("deeper") as span:
                span.set_attribute("number", number)
            return number
        def run(self):
            with self.apm_step("parent"):
                pool = multiprocessing.get_context("fork").Pool(3)
                assert pool.map(work_of, [self.recipe_run_id] * 10) == [7] * 10
                pool.close()
                pool.join()
            print("done")
    """,
}


@pytest.mark.parametrize("recorded", ON, indirect=True)
@pytest.mark.parametrize("body", FORKS.values(), ids=FORKS)
def test_a_fork_in_a_task_neither_hangs_nor_sends_twice(body, recorded):
    """The transaction and each span of the parent arrive once; a child's spans may be lost."""
    source = f"""
import gc, multiprocessing, os
from dkist_processing_core import TaskBase

def work_of(number):
    [task] = [each for each in gc.get_objects() if isinstance(each, Calibrate)]
    return task.work(number)

class Calibrate(TaskBase):
{body}
"""
    done = run_task(source, **recorded.on)
    assert_unchanged(done)
    assert recorded.roots == [("l0_to_l1_cam.Calibrate", True)]
    assert len(set(recorded.span_ids)) == len(recorded.span_ids)
    [(_, _, steps)] = [each for each in recorded.trees[0] if each[0] == "Run"]
    assert len([step for step in steps if step[0] == "parent"]) == body.count("range(20)") * 19 + 1


@pytest.mark.parametrize("recorded", ON, indirect=True)
def test_forks_while_many_spans_are_sent_do_not_hang(recorded):
    """A fork may come while a thread of the back end holds a lock that the child needs."""
    source = """
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def run(self):
                import os
                for number in range(150):
                    for _ in range(20):
                        with self.apm_step("parent"):
                            pass
                    child = os.fork()
                    if child == 0:
                        for _ in range(5):
                            with self.apm_step("in child"):
                                pass
                        os._exit(0)
                    os.waitpid(child, 0)
                print("done")
    """
    often = {"ELASTIC_APM_API_REQUEST_TIME": "10ms", "ELASTIC_APM_TRANSACTION_MAX_SPANS": "5000"}
    done = run_task(source, **recorded.on, **often, OTEL_BSP_SCHEDULE_DELAY="10")
    assert_unchanged(done)
    # gRPC says of itself that it may not work any more after a fork at such a moment; it must not hang then.
    assert len(recorded.roots) == 1 or "skipping fork() handlers" in done.stderr
    assert len(set(recorded.span_ids)) == len(recorded.span_ids)


@pytest.mark.parametrize(
    "settings",
    [
        {"ELASTIC_APM_OTHER_OPTIONS": "{"},
        {"ELASTIC_APM_OTHER_OPTIONS": "[1]"},
        {"ELASTIC_APM_OTHER_OPTIONS": '{"API_REQUEST_TIME": "soon"}'},
        {"ELASTIC_APM_OTHER_OPTIONS": '{"TRANSPORT_CLASS": "no.such.Class"}'},
        {"ELASTIC_APM_SERVER_URL": "nonsense", "MESH_CONFIG": ""},
        {"ELASTIC_APM_SERVICE_NAME": "not / allowed"},
        {"ELASTIC_APM_API_REQUEST_TIME": "soon"},
        {"ELASTIC_APM_ENABLED": "perhaps"},
        {"ELASTIC_APM_RECORDING": "false"},
        {"ELASTIC_APM_DISABLE_SEND": "true"},
        {"MESH_CONFIG": "{"},
        {"MESH_CONFIG": '{"system-monitoring-log-apm": 5}'},
        {"MESH_CONFIG": '{"otlp-traces-endpoint": 5, "otlp-metrics-endpoint": null}'},
        {"MESH_CONFIG": '"otlp-traces-endpoint"'},
        {"PIP_TIMEOUT": "soon"},
    ],
    ids=lambda settings: " ".join("=".join(each) for each in settings.items()),
)
def test_a_malformed_setting_costs_no_task_its_result(settings):
    """At worst the task is not recorded."""
    with apm.intake() as received:
        done = run_task(TASK, **{**ON["elastic"](received.port), **settings})
    assert_unchanged(done)
    off = {"ELASTIC_APM_ENABLED", "ELASTIC_APM_RECORDING", "ELASTIC_APM_DISABLE_SEND"}
    if not received.transactions and not off & set(settings):
        assert "WARNING" in done.stderr or "ERROR" in done.stderr
    if received.transactions:
        assert received.tree(received.transaction) == PHASES


def test_memory_is_bounded_with_ten_thousand_spans(recorded):
    """Below 100 MB more than without telemetry; what is not sent is no more than the queue holds."""
    source = """
        import resource
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def run(self):
                for number in range(10_000):
                    with self.apm_step(f"step {number}", labels={"text": "x" * 100, "number": number}):
                        pass
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
    without, used = int(run_task(source).stdout), int(run_task(source, **recorded.on).stdout)
    assert used - without < 100
