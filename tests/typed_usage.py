"""
Every public name as client packages use it. Never run: mypy checks in ``make check`` that the types allow it.

A client that types its code reports a wrong annotation of this library as an error in its own.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Self

from dkist_processing_core import ResourceQueue, TaskBase, Workflow, __version__, build_utils, exceptions
from dkist_processing_core.config import (
    DEFAULT_MESH_SERVICE,
    DKISTProcessingCoreConfiguration,
    InterserviceBusConfiguration,
    MeshService,
    RetryConfig,
    core_configurations,
)
from dkist_processing_core.failure_callback import (
    RecipeRunFailureMessage,
    RecipeRunFailureMessageBody,
    chat_ops_notification,
    dag_run_failure_notification,
    parse_dag_run_id_from_context,
    parse_log_url_from_context,
    recipe_run_failure_message_producer_factory,
)
from dkist_processing_core.local import RunResult, TaskState, Try, run_workflow
from dkist_processing_core.node import Node
from dkist_processing_core.notebook_utils import export_notebook_by_path, wait_for_notebook_save
from dkist_processing_core.testing import (
    ExportedDagError,
    ExportedRun,
    Measurement,
    Recorded,
    RecordedMetric,
    RecordedSpan,
    RecordedTask,
    load_exported_dag,
    recorded,
    run_exported_dag,
)
from dkist_processing_core.workflow import dag_name, workflow_name_from_details


class Dark(TaskBase):
    """A task with everything that a client overrides."""

    retries = 2
    retry_delay_seconds = 0.5

    def __init__(self, recipe_run_id: int, workflow_name: str, workflow_version: str) -> None:
        super().__init__(recipe_run_id=recipe_run_id, workflow_name=workflow_name, workflow_version=workflow_version)
        self.frames: list[Path] = []

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def pre_run(self) -> None:
        with self.apm_step("read", span_type="storage.fits.read", labels={"frames": 3}) as span:
            span.set_attribute("bytes", 12)

    def run(self) -> None:
        with self.telemetry_span("reduce", attributes={"camera": "vbi"}) as span:
            span.set_attributes({"frames": len(self.frames), "mean": 2.5, "is_dark": True})
        described: tuple[int, str, str, str] = (
            self.recipe_run_id,
            self.workflow_name,
            self.workflow_version,
            self.task_name,
        )
        self.frames.append(Path(*map(str, described)))

    def post_run(self) -> None:
        identity: str | None = self.environment.identity
        versions: dict[str, str] = dict(self.environment.distributions)
        self.frames.append(Path(f"{identity}-{self.environment.requirement}-{versions['numpy']}"))

    def rollback(self) -> None:
        self.frames.clear()


def call_tasks() -> None:
    with Dark(1, "l0_to_l1_cam", "1.0") as task:
        task()
    Dark(recipe_run_id=1, workflow_name="l0_to_l1_cam", workflow_version="1.0")()


def declare_workflows() -> list[Workflow]:
    modern = Workflow(
        input_data="l0",
        output_data="l1",
        category="cam",
        detail="full",
        tags=["dark"],
        workflow_package="client.workflows",
        workflow_version=__version__,
    )
    modern.add_node(Dark, upstreams=None)
    modern.add_node(Dark, upstreams=[Dark], resource_queue=ResourceQueue.HIGH_MEMORY, pip_extras=["asdf"])
    modern.add_node(task=Dark, upstreams=Dark, resource_queue="gpu", pip_extras="asdf")
    older = Workflow(process_category="My", process_name="Workflow", workflow_package="client.workflows")
    names: list[str] = [modern.workflow_name, modern.dag_name, modern.workflow_version, modern.workflow_package]
    names += [*modern.tags]
    parts: list[str | None] = [modern.input_data, modern.output_data, modern.category, modern.detail]
    parts += [older.process_category, older.process_name]
    names += [workflow_name_from_details("l0", "l1", "cam", detail="full"), dag_name(names[0], "1.0")]
    nodes: list[Node] = [*modern.nodes, *modern.topological_sort()]
    for node in nodes:
        use_node(node)
    files: list[Path] = [modern.export(), modern.export_dag("dags"), modern.export_notebook(Path("notebooks"))]
    print(files, parts, modern.load().get_task("Dark"))
    return [modern, older]


def use_node(node: Node) -> None:
    texts: list[str] = [node.pool, node.operator_definition, node.bash_script, node.install_command]
    texts += [node.run_command, node.python, node.notebook_cell, *node.pip_extras]
    classes: list[type[TaskBase]] = [node.task, *node.upstreams]
    queue: ResourceQueue = node.resource_queue
    dependencies: list[tuple[str, str]] = node.dependencies
    print(node.operator.task_id, texts, classes, queue.value, dependencies)


def release(package: ModuleType) -> list[Path]:
    report = build_utils.validate_workflows(package)
    workflows: list[Workflow] = build_utils.extract_workflows_from_package(package)
    print(report.faults, workflows)
    return [
        *build_utils.export(package, export_path="export"),
        *build_utils.export_dags(package, Path("dags")),
        *build_utils.export_notebooks(package, path="notebooks"),
        build_utils.export_archive(package, "archives", overwrite=True),
        build_utils.export_one_file(package, "dags", overwrite=True),
        build_utils.export_notebook_dockerfile(package, "notebooks"),
    ]


class ClientConfiguration(DKISTProcessingCoreConfiguration):
    """A client adds its own settings."""

    scratch_base_path: str = "scratch"


def read_settings(settings: ClientConfiguration) -> None:
    print(core_configurations.build_version)
    mesh = settings.service_mesh_detail("apm", default_mesh_service=settings.isb_mesh_service)
    address: tuple[str, int] = (mesh.host, mesh.port)
    arguments: dict[str, str] = settings.isb_queue_arguments
    texts: list[str] = [settings.isb_username, settings.isb_exchange, settings.service_name, settings.scratch_base_path]
    numbers: list[float] = [settings.pip_timeout, settings.pip_retries, settings.cpu_count]
    settings.log_configurations(log_parent_configurations=False)
    texts += [settings.isb_password, settings.isb_queue_type, settings.elastic_apm_service_name]
    texts += [settings.allocation_id, settings.allocation_name, settings.allocation_group]
    known: list[MeshService] = [mesh, DEFAULT_MESH_SERVICE]
    retry: RetryConfig = settings.retry_config
    bus: InterserviceBusConfiguration = settings
    flags: list[bool] = [settings.is_notebook_execution_environment, settings.elastic_apm_enabled]
    print(address, arguments, texts, numbers, known, retry.retry_tries, bus.isb_exchange, flags, settings.apm_config)


class Producer:
    """A producer of a client's own, for the failure messages."""

    def publish(self, message: RecipeRunFailureMessage) -> None:
        body: RecipeRunFailureMessageBody = message.body
        print(body.workflowName, body.taskName, body.dagRunId, body.logUrl)


@contextmanager
def producer_factory() -> Iterator[Producer]:
    yield Producer()


def report_failures(context: dict[str, object]) -> None:
    message: RecipeRunFailureMessage | None = chat_ops_notification(context, "w", "1.0", "Dark", producer_factory)
    chat_ops_notification(context, workflow_name="w", workflow_version="1.0", task_name="Dark")
    messages: list[RecipeRunFailureMessage] = dag_run_failure_notification(context, "w", "1.0")
    texts: list[str | None] = [parse_dag_run_id_from_context(context), parse_log_url_from_context(context)]
    factory: AbstractContextManager[object] = recipe_run_failure_message_producer_factory()
    print(message, messages, texts, factory)


def save_notebook(notebook: Path) -> bytes:
    wait_for_notebook_save(notebook, sentinel="done", attempts=10, delay_s=0.5)
    return export_notebook_by_path(str(notebook))


def look_at_telemetry(tmp_path: Path) -> None:
    with recorded() as records, Dark(1, "w", "1.0") as task:
        task()
    everything: Recorded = records
    tasks: list[RecordedTask] = everything.tasks
    spans: list[RecordedSpan] = everything.spans
    metrics: dict[str, RecordedMetric] = records.metrics
    measurements: list[Measurement] = [each for metric in metrics.values() for each in metric.measurements]
    failures: list[RecipeRunFailureMessage] = records.failures
    try:
        dag = load_exported_dag(tmp_path / "dag.py")
        run: ExportedRun = run_exported_dag(tmp_path / "dag.py", {"recipe_run_id": 1}, seconds=60)
        print(dag.dag_id, run.state, run.tasks["Dark"], tasks, spans, measurements, failures, records.tree())
    except ExportedDagError as error:
        print(error)


def run_here(workflow: Workflow) -> None:
    result: RunResult = run_workflow(workflow, 1, until=["Dark"], resume=True)
    states: dict[str, TaskState] = dict(result.tasks)
    tries: list[Try] = [each for state in states.values() for each in state.tries]
    print(result.state, result.folder, result.report, tries)


def handle_errors(package: ModuleType) -> None:
    """Handle each error that carries something, by its root or by what it is besides."""
    try:
        build_utils.export(package)
    except exceptions.WorkflowValidationError as error:
        print(error.report)
    except exceptions.CycleError as error:
        print(error.workflow, error.path)
    except exceptions.UnknownUpstreamError as error:
        print(error.workflow, error.task, error.upstream)
    except exceptions.WorkflowError as error:
        print(error.workflow, error.task)
    except exceptions.DKISTProcessingCoreError as error:
        print(error)
    inputs: list[type[ValueError]] = [exceptions.ConfigurationError, exceptions.RecipeRunIdError]
    inputs += [exceptions.IllegalNameError, exceptions.DuplicateTaskError, exceptions.EmptyWorkflowError]
    types: list[type[TypeError]] = [exceptions.NotATaskError, exceptions.NamingSchemeError]
    imports: list[type[ImportError]] = [exceptions.MissingExtraError, exceptions.MissingDistributionError]
    files: list[type[FileExistsError]] = [exceptions.ReleasedFileError, exceptions.ChangedFileError]
    print(inputs, types, imports, files)


def misuse(workflow: Workflow, node: Node, settings: DKISTProcessingCoreConfiguration, package: ModuleType) -> None:
    """Use each name wrongly; strict mode reports an ignored error that is none, so the types refuse every line."""
    Dark("w", 1, "1.0")  # type: ignore[arg-type]
    Dark(recipe_run_id=1)  # type: ignore[call-arg]
    Dark(1, "w", "1.0").telemetry_span(3)  # type: ignore[arg-type]
    Dark(1, "w", "1.0").apm_step("read", labels=["frames"])  # type: ignore[arg-type]
    TaskBase(1, "w", "1.0")  # type: ignore[abstract]
    Workflow(input_data="l0", output_data="l1", kategory="cam", workflow_package="p")  # type: ignore[call-arg]
    Workflow(input_data="l0", output_data="l1", category="cam", workflow_package="p", tags=3)  # type: ignore[arg-type]
    workflow.add_node("Dark")  # type: ignore[arg-type]
    workflow.add_node(Path)  # type: ignore[arg-type]
    workflow.add_node(Dark, upstreams=["Dark"])  # type: ignore[list-item]
    workflow.add_node(Dark, pip_extras=3)  # type: ignore[arg-type]
    workflow.export(3)  # type: ignore[arg-type]
    node.task = None  # type: ignore[assignment]
    ResourceQueue.LARGE  # type: ignore[attr-defined] # noqa: B018
    dag_name("w")  # type: ignore[call-arg]
    workflow_name_from_details("l0", "l1")  # type: ignore[call-arg]
    build_utils.export("package")  # type: ignore[arg-type]
    build_utils.export_archive(package)  # type: ignore[call-arg]
    settings.service_mesh_detail()  # type: ignore[call-arg]
    settings.isb_user  # type: ignore[attr-defined] # noqa: B018
    RecipeRunFailureMessageBody(workflowName="w")  # type: ignore[call-arg]
    chat_ops_notification({}, "w", "1.0")  # type: ignore[call-arg]
    wait_for_notebook_save("n.ipynb", attempts="ten")  # type: ignore[arg-type]
    export_notebook_by_path(3)  # type: ignore[arg-type]
    recorded(bus_error=3)  # type: ignore[arg-type]
    run_exported_dag("dag.py", conf=3)  # type: ignore[arg-type]
    run_workflow(workflow, "1")  # type: ignore[arg-type]
    exceptions.CycleError("w")  # type: ignore[call-arg]
