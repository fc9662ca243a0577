"""OpenTelemetry, with the real SDK, against collectors that speak OTLP by HTTP and by gRPC."""

import contextlib
import math

import pytest
from support import odd_task
from support.command_line import run_python
from support.recorded_tasks import CORE, FAILING_TASK, MANY, PHASES, TASK, assert_unchanged, run_task, write_task

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")

from support.mesh import mesh_config
from support.otlp import METRICS, TRACES, grpc_collector, http_collector, values

pytestmark = pytest.mark.once

OK, ERROR = 1, 2
PROTOBUF = "application/x-protobuf"
# Without it MESH_CONFIG means gRPC.
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


@contextlib.contextmanager
def collector(protocol):
    """A collector that speaks a protocol."""
    if protocol == "grpc":
        pytest.importorskip("grpc", reason="grpcio is not installed")
        pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="the exporter by gRPC is not installed")
    with (grpc_collector if protocol == "grpc" else http_collector)() as received:
        yield received


def record(source=TASK, protocol="http", **environment):
    """Run a task against a collector that MESH_CONFIG names; return how it ended and what arrived."""
    setting = {} if protocol == "grpc" else HTTP
    with collector(protocol) as received:
        done = run_task(source, **{"MESH_CONFIG": received.mesh_config, **setting, **environment})
    return done, received


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_task_is_one_root_span_with_the_spans_that_it_made(protocol):
    """By either protocol: names, attributes, parents, resource and status; it is counted."""
    allocation = {"NOMAD_ALLOC_ID": "id", "NOMAD_ALLOC_NAME": "name", "NOMAD_GROUP_NAME": "group"}
    done, received = record(protocol=protocol, **allocation, DKIST_ENVIRONMENT_IDENTITY="0a")
    assert_unchanged(done)
    [root] = received.roots
    assert (root.name, root.parent, root.status) == ("l0_to_l1_cam.Calibrate", "", OK)
    facts = {
        "recipe.run.id": 7,
        "workflow.name": "l0_to_l1_cam",
        "workflow.version": "1.0",
        "task.name": "Calibrate",
        "environment.identity": "0a",
        "host.name": root.attributes["host.name"],
        "nomad.allocation.id": "id",
        "nomad.allocation.name": "name",
        "nomad.allocation.group": "group",
    }
    assert root.attributes == facts | {"dkist.root": True}
    assert root.resource.items() >= (facts | {"service.name": "l0_to_l1_cam", "service.version": "1.0"}).items()
    assert received.tree(root) == PHASES
    assert len(received.spans) == 1 + 7
    assert {span.trace for span in received.spans} == {root.trace}
    assert {span.name: span.attributes["span.type"] for span in received.spans if "span.type" in span.attributes} == {
        "Pre Run": "code.core",
        "read": "storage.fits.read",
        "Run": "code.core",
        "Post Run": "code.core",
    }
    assert all(root.began <= span.began <= span.ended <= root.ended for span in received.spans)
    assert all(span.events == [] for span in received.spans)
    assert "WARNING" not in done.stderr
    counter = received.metrics["dkist.processing.tasks.executed"]
    [point] = counter.sum.data_points
    assert (point.as_int, counter.unit, counter.sum.is_monotonic) == (1, "1", True)
    assert values(point.attributes).items() >= {"task.name": "Calibrate", "recipe.run.id": 7}.items()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_failure_is_the_status_and_an_event(protocol):
    """On the root span and on each span that the exception left."""
    done, received = record(FAILING_TASK, protocol)
    assert done.returncode == 1
    [root] = received.roots
    assert received.tree(root) == PHASES[:2]
    failed = [span for span in received.spans if span.status == ERROR]
    assert [span.name for span in failed] == [root.name, "Run"]
    for span in failed:
        assert span.message == "RuntimeError: no flat"
        [(name, event)] = span.events
        assert (name, event["exception.type"], event["exception.message"]) == ("exception", "RuntimeError", "no flat")
        assert event["exception.stacktrace"].endswith("RuntimeError: no flat\n")


SETTINGS = {
    "endpoint": lambda url: {"OTEL_EXPORTER_OTLP_ENDPOINT": url},
    "own endpoints": lambda url: {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url}/v1/traces",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/v1/metrics",
    },
    "endpoint and broken mesh": lambda url: {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "MESH_CONFIG": "{"},
    "gzip": lambda url: {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
    "unknown exporter": lambda url: {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_TRACES_EXPORTER": "console"},
    "unknown protocol": lambda url: {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_standard_variables_say_where_to(settings):
    """Spans and metrics arrive at the endpoint that OTEL_EXPORTER_OTLP_... names, compressed or not."""
    with http_collector() as received:
        chosen = settings(received.url)
        done = run_task(TASK, **chosen)
    assert_unchanged(done)
    assert received.tree(received.roots[0]) == PHASES
    assert set(received.metrics) == {"dkist.processing.tasks.executed"}
    assert set(received.kinds) == {PROTOBUF}
    assert set(received.encodings) == {chosen.get("OTEL_EXPORTER_OTLP_COMPRESSION")}
    odd = {"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"} & set(chosen)
    assert done.stderr.count("WARNING") == (0 if not odd else 1 if "OTEL_TRACES_EXPORTER" in odd else 2)


def test_the_endpoint_of_one_signal_sends_that_signal_alone():
    """Spans without metrics, whatever else is wrong with MESH_CONFIG."""
    with http_collector() as received:
        endpoint = f"{received.url}/v1/traces"
        done = run_task(TASK, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint, MESH_CONFIG="{")
    assert_unchanged(done)
    assert received.tree(received.roots[0]) == PHASES
    assert received.metrics == {}


def test_each_signal_has_its_own_service_of_the_mesh():
    """Spans by gRPC to one, metrics by HTTP to another; a standard variable may name gRPC as well."""
    with collector("grpc") as for_spans, collector("http") as for_metrics:
        done = run_task(
            TASK,
            MESH_CONFIG=mesh_config({TRACES: for_spans.port, METRICS: for_metrics.port}),
            OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="http/protobuf",
        )
    assert_unchanged(done)
    assert for_spans.tree(for_spans.roots[0]) == PHASES
    assert (for_spans.metrics, for_metrics.spans) == ({}, [])
    assert set(for_metrics.metrics) == {"dkist.processing.tasks.executed"}
    with collector("grpc") as received:
        done = run_task(TASK, OTEL_EXPORTER_OTLP_ENDPOINT=received.url, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert_unchanged(done)
    assert received.tree(received.roots[0]) == PHASES


@pytest.mark.parametrize(
    "settings", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}]
)
def test_it_can_be_switched_off(settings):
    """By the standard variables, whatever the endpoints say."""
    done, received = record(**settings)
    assert_unchanged(done)
    assert received.requests == []


CLIENT = """
    from dkist_processing_core import TaskBase

    class ClientTask(TaskBase):
        '''What a client package puts between TaskBase and its tasks.'''

        def __init__(self, recipe_run_id, workflow_name, workflow_version):
            super().__init__(recipe_run_id, workflow_name, workflow_version)
            self.frames_seen = 0
            self.read_counter = self.meter.create_counter(
                name=self.format_metric_name("frames.read"), unit="1", description="Frames that were read."
            )
            self.progress = self.meter.create_observable_gauge(
                self.format_metric_name("progress"), callbacks=[self.observe], description="Frames seen so far."
            )

        def observe(self, options):
            from opentelemetry.metrics import Observation
            yield Observation(self.frames_seen, self.base_telemetry_attributes)

    class Calibrate(ClientTask):
        def run(self):
            for _ in range(5):
                self.frames_seen += 1
                self.read_counter.add(2, self.base_telemetry_attributes)
            self.meter.create_histogram("seconds").record(1.5)
            self.meter.create_up_down_counter("open").add(-1)
            print("done")
"""


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_instruments_that_a_client_package_makes_are_sent(protocol):
    """Made in its ``__init__``, before the task is entered; what they hold at the end of the task arrives."""
    done, received = record(CLIENT, protocol)
    assert_unchanged(done)
    metrics = received.metrics
    [read] = metrics["dkist.processing.frames.read"].sum.data_points
    [progress] = metrics["dkist.processing.progress"].gauge.data_points
    assert (read.as_int, progress.as_int) == (10, 5)
    assert values(read.attributes)["task.name"] == values(progress.attributes)["task.name"] == "Calibrate"
    [seconds] = metrics["seconds"].histogram.data_points
    assert (seconds.count, seconds.sum) == (1, 1.5)
    [opened] = metrics["open"].sum.data_points
    assert opened.as_int == -1
    assert received.tree(received.roots[0]) == [("Pre Run", CORE, []), ("Run", CORE, []), ("Post Run", CORE, [])]


def test_without_opentelemetry_the_instruments_measure_nothing():
    """And the package that makes them need not know."""
    assert_unchanged(run_task(CLIENT))


def test_a_callback_that_raises_costs_its_own_metric():
    """The others arrive, and the task succeeds."""
    done, received = record(CLIENT.replace("yield Observation(", "raise ValueError\n            yield Observation("))
    assert_unchanged(done)
    assert "dkist.processing.frames.read" in received.metrics
    assert "dkist.processing.progress" not in received.metrics


def test_the_arguments_of_opentelemetry_are_taken():
    """Kind, links, start time, and what to do at the end of the span."""
    done, received = record("""
        from dkist_processing_core import TaskBase

        class Calibrate(TaskBase):
            def run(self):
                from opentelemetry import trace
                with self.telemetry_span("first", kind=trace.SpanKind.CLIENT, start_time=10**18) as first:
                    assert trace.get_current_span() is first and isinstance(first, trace.Span)
                    first.add_event("seen", {"frame": 4})
                    first.set_status(trace.StatusCode.OK)
                    first.update_name("renamed")
                    assert first.name == "renamed"
                links = [trace.Link(first.get_span_context())]
                with self.telemetry_span("linked", links=links, attributes={"s": ["a"]}):
                    pass
                try:
                    with self.telemetry_span("quiet", record_exception=False, set_status_on_exception=False):
                        raise ValueError
                except ValueError:
                    pass
                with self.telemetry_span("later", end_on_exit=False) as later:
                    pass
                later.set_attribute("late", True)
                later.end()
                elsewhere = trace.set_span_in_context(trace.INVALID_SPAN)
                with self.telemetry_span("elsewhere", context=elsewhere):
                    with self.tracer.start_as_current_span("inside", attributes={"a": 1}):
                        with self.apm_step("inmost"):
                            pass
                print("done")
    """)
    assert_unchanged(done)
    first = received.span("renamed")
    assert (first.began, first.status, first.events) == (10**18, OK, [("seen", {"frame": 4})])
    assert received.span("linked").attributes == {"s": ["a"]}
    assert (received.span("quiet").status, received.span("quiet").events) == (0, [])
    assert received.span("later").attributes == {"late": True}
    assert (received.span("elsewhere").parent, received.tree(received.span("elsewhere"))) == (
        "",
        [("inside", {"a": 1}, [("inmost", {}, [])])],
    )


def test_ten_thousand_spans_all_arrive():
    """The queue holds 16384 spans, and is emptied while the task runs."""
    done, received = record(MANY.format(count=10_000))
    assert_unchanged(done)
    # The root span and three phases come with them.
    assert len(received.spans) == 10_000 + 4
    assert "WARNING" not in done.stderr


def test_a_queue_that_is_full_drops_spans_and_says_so():
    """By the standard variables; the root span arrives all the same, since the oldest are dropped."""
    done, received = record(
        MANY.format(count=5000),
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="100",
        OTEL_BSP_SCHEDULE_DELAY="60000",
    )
    assert_unchanged(done)
    assert len(received.roots) == 1


def test_odd_attributes_and_names_are_recorded_as_their_text():
    """Whatever a task puts on a span, that span and those that are sent with it arrive."""
    done, received = record(odd_task.TASK)
    assert_unchanged(done)
    attributes = received.span("labels").attributes
    huge, elements, nan = (attributes.pop(name) for name in ("huge", "elements", "nan"))
    assert (len(huge), huge[-3:], elements) == (8192, "...", "<list of 3000000 elements>")
    assert math.isnan(nan)
    lists = {"list": [1, 2], "surrogates": [r"a\udc80"]}
    assert attributes == {**odd_task.LABELS, **lists, "infinite": -math.inf, "dotted.name": 1}
    assert [name for name, _ in received.span("labels").events] == [r"\udc80", "exception"]
    assert len(received.spans) == 1 + odd_task.SPANS


OTEL = "OpenTelemetry, which is configured, needs the extra 'otel'. Install it with: "
GRPC = "opentelemetry.exporter.otlp.proto.grpc"
USE_HTTP = "If the endpoint speaks HTTP, set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
INSTALL_GRPC = "install it with: pip install opentelemetry-exporter-otlp-proto-grpc"
MESH = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "MESH_CONFIG": mesh_config({TRACES: 9, METRICS: 9})}


@pytest.mark.parametrize(
    ("missing", "settings", "part", "end"),
    [
        ("opentelemetry", {}, OTEL, "pip install 'dkist-processing-core[otel]'"),
        (GRPC, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, USE_HTTP, INSTALL_GRPC),
        (GRPC, MESH, USE_HTTP, INSTALL_GRPC),
    ],
    ids=["extra", "gRPC by the standard variable", "gRPC by the mesh"],
)
def test_what_is_not_installed_is_one_warning_with_the_remedies(missing, settings, part, end):
    """The command that installs it, and for gRPC the variable that selects HTTP; an import hook hides it here."""
    write_task(HOOK.format(missing=missing), "sitecustomize")
    with http_collector() as received:
        done = run_task(TASK, **{"OTEL_EXPORTER_OTLP_ENDPOINT": received.url, **settings})
    assert_unchanged(done)
    assert received.requests == []
    [warning] = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert part in warning
    assert warning.endswith(end)


def test_the_private_name_that_this_library_relies_on_is_that_of_the_api():
    """It shows whether a provider of metrics is set: ours is, unless another one was set before."""
    run_python(
        """
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.resources import Resource
        from dkist_processing_core.telemetry.otel import providers

        class Exporter:
            _preferred_temporality = _preferred_aggregation = None
            def shutdown(self, *arguments, **keywords): pass

        assert type(metrics.get_meter_provider()).__name__ == providers.UNSET_METER_PROVIDER
        first, second = (providers.meter_provider(Resource({}), Exporter()) for _ in range(2))
        assert metrics.get_meter_provider() is first
        """
    ).check(stderr="")


HOOK = """
    import sys

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if f"{{name}}.".startswith("{missing}."):
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Missing())
"""


@pytest.mark.usefixtures("production_bounds")  # nobody answers at some of the addresses
@pytest.mark.parametrize(
    "setting",
    [
        "OTEL_EXPORTER_OTLP_TIMEOUT=soon",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT=soon",
        "OTEL_EXPORTER_OTLP_COMPRESSION=zip",
        "OTEL_BSP_MAX_QUEUE_SIZE=10",
        "OTEL_BSP_MAX_QUEUE_SIZE=many",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=-1",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=long",
        "OTEL_TRACES_SAMPLER=sometimes",
        "OTEL_METRIC_EXPORT_INTERVAL=often",
        "OTEL_RESOURCE_ATTRIBUTES====,,",
        "OTEL_EXPORTER_OTLP_HEADERS====",
        "OTEL_EXPORTER_OTLP_ENDPOINT=nonsense://",
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://",
        "OTEL_TRACES_EXPORTER=console",
        "OTEL_PROPAGATORS=nonsense",
    ],
)
def test_a_malformed_setting_costs_no_task_its_result(setting):
    """At worst the task is not recorded, and its log says why."""
    with http_collector() as received:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url} | dict([setting.split("=", 1)])
        done = run_task(TASK, **settings)
    assert_unchanged(done)
    assert len(received.roots) == 1 or "WARNING" in done.stderr or "ERROR" in done.stderr
