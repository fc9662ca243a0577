"""
Measure what telemetry costs a task: one span, the end of the task with each kind of server, and ten thousand spans.

Each task runs in a process of its own; the servers that it reports to are in this process. There are three tables:

* the time for one span, compared with the bare agent or SDK; and with telemetry off, compared with no span. Both sides
  open their spans in the same transaction or root span of the same task, with the same limits, in turn, in blocks of a
  hundred. The spans are sent during the pause after each block;
* how much longer the whole process of a task takes than without telemetry, and the shares of its start (importing and
  starting the agent) and of its end, with servers that answer, refuse, drop packets, stay silent or send nonsense;
* the peak memory of a task with 10,000 spans, compared with a task without spans, and the number of spans that arrive.

OpenTelemetry is measured with OTLP over HTTP, and over gRPC if its exporter is installed; in the second table also
together with Elastic APM.
"""

import argparse
import contextlib
import importlib.util
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import apm
from support.http_server import Request, Response, http_server
from support.mesh import mesh_config
from support.peers import peer, swallowing
from support.ports import free_ports

BLOCK = 100
PAUSE_SECONDS = 0.02
MANY = 10_000
LABELS = {"frames": 3, "camera": "vbi-blue"}
ELASTIC, HTTP, GRPC = "Elastic APM", "OTLP, HTTP", "OTLP, gRPC"
BOTH = "Elastic, OTLP"
WITHOUT_LIBRARIES = "Elastic, all*"
OFF = "off"
MOST_ADDED_SECONDS = 3.0


# What runs in the process of a task


def in_task(what: str, rounds: int) -> None:
    """Run one task and print the requested measurement as JSON."""
    entered = time.monotonic()
    from dkist_processing_core import TaskBase

    measured: dict[str, Any] = {}

    class Task(TaskBase):
        def run(self) -> None:
            measured["run_began"] = time.monotonic()
            if what == "cost":
                measured["cost"] = costs(self, rounds)
            else:
                for _ in range(MANY if what == "many" else 0 if what == "none" else 20):
                    with self.apm_step("read", labels=LABELS):
                        pass
            measured["run_ended"] = time.monotonic()

    logging.disable()
    with Task(recipe_run_id=1, workflow_name="l0_to_l1_cam", workflow_version="1.0") as task:
        task()
    measured["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"entered": entered, **measured}))


def costs(task: Any, rounds: int) -> dict[str, float]:
    """Return the time for one span in microseconds, of ours and of the bare one, with and without labels."""
    ways = {"ours": lambda: task.apm_step("read"), "ours, labels": lambda: task.apm_step("read", labels=LABELS)}
    if "elasticapm" in sys.modules:
        import elasticapm

        capture = elasticapm.capture_span
        ways |= {"bare": lambda: capture("read"), "bare, labels": lambda: capture("read", labels=LABELS)}
    elif "opentelemetry.sdk" in sys.modules:
        from opentelemetry import trace

        start = trace.get_tracer_provider().get_tracer("bare").start_as_current_span
        ways |= {"bare": lambda: start("read"), "bare, labels": lambda: start("read", attributes=LABELS)}
    times: dict[str, list[float]] = {name: [] for name in [*ways, "nothing"]}
    for number in range(rounds):
        for name in sorted(times, reverse=number % 2 == 1):
            times[name].append(block(ways.get(name)))
            time.sleep(PAUSE_SECONDS)
    return {name: statistics.median(its[3:]) for name, its in times.items()}


def block(way: Callable[[], Any] | None) -> float:
    """Return the time for one span of a block, or for one iteration of the empty loop, in microseconds."""
    started = time.perf_counter()
    if way is None:
        for _ in range(BLOCK):
            pass
    else:
        for _ in range(BLOCK):
            with way():
                pass
    return (time.perf_counter() - started) / BLOCK * 1e6


# Servers


class Arrived:
    """The data that a server received."""

    def __init__(self) -> None:
        self.spans = 0
        self.dropped = 0

    def take(self, path: str, body: bytes) -> None:
        """Count the items in the body of a request."""
        if "intake" in path:
            for line in body.splitlines():
                [(kind, event)] = json.loads(line).items()
                self.spans += kind == "span"
                self.dropped += event["span_count"]["dropped"] if kind == "transaction" else 0
        elif "trace" in path.lower():
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

            request = ExportTraceServiceRequest.FromString(body)
            scopes = [scope for each in request.resource_spans for scope in each.scope_spans]
            # The root span is also a span; there is no separate transaction.
            self.spans += sum(bool(span.parent_span_id) for scope in scopes for span in scope.spans)


def collector(arrived: Arrived, status: int = 200) -> contextlib.AbstractContextManager[int]:
    """Serve the intake of Elastic APM, and OTLP over HTTP; yield the port."""

    def answer(request: Request) -> Response:
        if request.method == "GET":
            return Response(body=b'{"version": "8.15.0"}')
        arrived.take(request.path, request.body)
        return Response(status)

    return http_server(answer)


@contextlib.contextmanager
def grpc_server(arrived: Arrived, *, is_available: bool = True) -> Iterator[int]:
    """Serve OTLP over gRPC; yield the port."""
    import grpc

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            def answer(request: bytes, context: Any) -> bytes:
                if not is_available:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "queue full")
                arrived.take(details.method, request)
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


@contextlib.contextmanager
def no_server() -> Iterator[int]:
    """Yield a port on which no server listens."""
    yield free_ports(1)[0]


def servers(backend: str, arrived: Arrived) -> dict[str, contextlib.AbstractContextManager[int]]:
    """Return a server of each kind by its behaviour. They are not started yet."""
    is_grpc = backend == GRPC
    return {
        "answers": grpc_server(arrived) if is_grpc else collector(arrived),
        "refuses connections": no_server(),
        "drops packets": swallowing(),
        "is silent": peer(lambda _: None),
        "answers 503": grpc_server(arrived, is_available=False) if is_grpc else collector(arrived, 503),
        "talks nonsense": peer(lambda connection: connection.sendall(b"\x00\xffnonsense\r\n\r\n" * 10)),
    }


# Measurements


def settings(backend: str, port: int) -> dict[str, str]:
    """Return the environment variables that enable a back end."""
    if backend == OFF:
        return {}
    if backend == BOTH:
        return settings(ELASTIC, port) | settings(HTTP, port)
    if backend in {ELASTIC, WITHOUT_LIBRARIES}:
        more = {"DKIST_APM_DISABLED_INSTRUMENTATIONS": "all"} if backend == WITHOUT_LIBRARIES else {}
        return {
            "ELASTIC_APM_ENABLED": "true",
            "MESH_CONFIG": mesh_config({apm.SERVICE: port}),
            **more,
        }
    protocol = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"} if backend == GRPC else {}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", **protocol}


def run(what: str, environment: dict[str, str], rounds: int = 1) -> dict[str, Any]:
    """Run a task in a process of its own; return its measurement, and the times of its start and end."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ELASTIC_", "OTEL_", "MESH_"))}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "--in-task", what, "--rounds", str(rounds)],
        env=clean | environment,
        capture_output=True,
        text=True,
    )
    ended = time.monotonic()
    if done.returncode != 0:
        sys.exit(f"the task failed:\n{done.stderr[-3000:]}")
    return {**json.loads(done.stdout), "began": began, "ended": ended}


def cost_of_a_span(backends: list[str], rounds: int) -> None:
    """Print the table of the time for one span."""
    print("\nOne span, microseconds (median), and how many times the bare one")
    print(f"  {'':<14}{'ours':>8}{'bare':>8}{'':>8}{'labels: ours':>16}{'bare':>8}")
    for backend in [OFF, *backends]:
        with collector(Arrived()) if backend != GRPC else grpc_server(Arrived()) as port:
            more = {"ELASTIC_APM_TRANSACTION_MAX_SPANS": "1000000000"}
            runs = [run("cost", settings(backend, port) | more, 40 * rounds)["cost"] for _ in range(3)]
        cost = {name: statistics.median(each[name] for each in runs) for name in runs[0]}
        bare = cost if backend != OFF else {"bare": cost["nothing"], "bare, labels": cost["nothing"]}
        line = f"  {backend:<14}"
        for kind in ("", ", labels"):
            ours, other = cost[f"ours{kind}"], bare[f"bare{kind}"]
            ratio = "" if backend == OFF else f"{ours / other:.2f}"
            line += f"{ours:>{16 if kind else 8}.2f}{other:>8.2f}{ratio:>8}"
        print(line, flush=True)


def end_of_a_task(backends: list[str], rounds: int) -> None:
    """Print the table of the additional time of a task, for each kind of server."""
    times: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for backend in [*backends, BOTH, WITHOUT_LIBRARIES]:
            for does, server in servers(backend, Arrived()).items():
                if backend == WITHOUT_LIBRARIES and does != "answers":
                    continue
                with server as port:
                    times.setdefault((backend, does), []).append(run("end", settings(backend, port)))
            times.setdefault((OFF, ""), []).append(run("end", {}))

    def median(key: tuple[str, str], first: str, last: str) -> float:
        return statistics.median(each[last] - each[first] for each in times[key])

    print(f"\nA task of 20 spans, seconds more than without telemetry (median; most of all {rounds} rounds)")
    print(f"  {'':<14}{'the server':<22}{'at start':>9}{'at end':>9}{'together':>10}{'most at end':>13}")
    off = {
        part: median((OFF, ""), *part) for part in (("began", "run_began"), ("run_ended", "ended"), ("began", "ended"))
    }
    worst = 0.0
    for (backend, does), its in times.items():
        if backend == OFF:
            continue
        start, end, both = (median((backend, does), *part) - base for part, base in off.items())
        most = max(each["ended"] - each["run_ended"] for each in its) - off["run_ended", "ended"]
        worst = max(worst, most)
        print(f"  {backend:<14}{does:<22}{start:>9.2f}{end:>9.2f}{both:>10.2f}{most:>13.2f}")
    print(f"  the most that was added at the end: {worst:.2f} s ({MOST_ADDED_SECONDS:.0f} s are allowed)")
    print("  * DKIST_APM_DISABLED_INSTRUMENTATIONS=all, which does not import the libraries that could be watched")
    print(f"  without telemetry the whole process takes {off['began', 'ended']:.2f} s", flush=True)


def many_spans(backends: list[str], rounds: int) -> None:
    """Print the table of a task of 10,000 spans."""
    print(f"\nA task of {MANY} spans (median of {rounds} rounds)")
    print(f"  {'':<14}{'the server':<22}{'peak':>6}{'more than with none':>24}{'arrive':>9}{'dropped':>17}")
    cases = [(backend, does) for backend in backends for does in ("answers", "refuses connections", "is silent")]
    for backend, does in [(OFF, ""), *cases]:
        peaks: dict[str, list[float]] = {"none": [], "many": []}
        for what in [*peaks] * rounds:
            arrived = Arrived()
            server = no_server() if backend == OFF else servers(backend, arrived)[does]
            with server as port:
                peaks[what].append(run(what, settings(backend, port))["peak"] / 1e6)
        none, many = statistics.median(peaks["none"]), statistics.median(peaks["many"])
        counts = f"{arrived.spans:>9}{arrived.dropped:>17}" if does == "answers" else ""
        print(f"  {backend:<14}{does:<22}{many:>6.0f} MB{many - none:>18.1f} MB{counts}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each task")
    parser.add_argument("--only", choices=["span", "many", "end"], help="one of the three tables")
    parser.add_argument("--in-task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_task:
        in_task(options.in_task, options.rounds)
        return
    backends = [ELASTIC, HTTP]
    if importlib.util.find_spec("opentelemetry.exporter.otlp.proto.grpc"):
        backends.append(GRPC)
    for name, table in {"span": cost_of_a_span, "many": many_spans, "end": end_of_a_task}.items():
        if options.only in {None, name}:
            table(backends, options.rounds)
    print(f"\n{os.cpu_count()} processors, load in the last 15 minutes {os.getloadavg()[2]:.1f}")


if __name__ == "__main__":
    main()
