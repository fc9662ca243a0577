"""
The class that a team subclasses to write a task.

Runs in: task environment, and author and CI, where workflows refer to the classes. It imports neither Airflow nor
anything of rendering, and before a task starts neither a telemetry back end nor anything of the interservice bus.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from dkist_processing_core.common.metadata import ENVIRONMENT_IDENTITY, TaskMetadata
from dkist_processing_core.exceptions import RecipeRunIdError, TaskNotRunError
from dkist_processing_core.runtime.listeners import LISTENED, Listeners
from dkist_processing_core.telemetry.protocol import CUSTOM_SPAN_TYPE, AttributeValue, Span

if TYPE_CHECKING:
    from dkist_processing_core.runtime.environment import TaskEnvironment

__all__ = ["TaskBase", "as_recipe_run_id"]

# Not the name of this module: a team sets the level of what it imports.
logger = logging.getLogger("dkist_processing_core.task")

NO_OPTIONS: Mapping[str, Any] = {}


def as_recipe_run_id(value: object) -> int:
    """Return a recipe run id, an integer or a text or number equal to one, as an integer; else `RecipeRunIdError`."""
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        raise RecipeRunIdError(value) from None
    if isinstance(value, bool) or (not isinstance(value, (str, bytes)) and number != value):
        raise RecipeRunIdError(value)
    return int(number)


def _check_that_it_ran(returned: object, name: str) -> None:
    """Raise `TaskNotRunError` if a method has returned itself as a coroutine or generator, of which nothing has run."""
    if isinstance(returned, CoroutineType):
        returned.close()  # Python warns of one that was never awaited
    elif not isinstance(returned, AsyncGeneratorType) and not (
        isinstance(returned, GeneratorType) and returned.gi_code.co_name == name
    ):
        return
    raise TaskNotRunError(name, type(returned).__name__)


class TaskBase(ABC):
    """
    One task of a workflow, written in plain Python.

    Subclass it and write `run`. A subclass need not know that Airflow runs it; ``self.recipe_run_id`` is the recipe run
    that it works on. Airflow's task id is the name of the class.

    Parameters
    ----------
    recipe_run_id
        Id of the recipe run that the task works on, an integer or a text or number equal to one.
    workflow_name, workflow_version
        The workflow that the task runs in.

    Attributes
    ----------
    retries : int
        How often Airflow tries again after a failure (class attribute, 0 unless overridden; at most 1,000,000).
    retry_delay_seconds : float
        Time between two tries, in seconds (class attribute, 60 unless overridden; at most a year).
    task_name : str
        Name of the class.

    Raises
    ------
    RecipeRunIdError
        If ``recipe_run_id`` is no integer. It is also a `ValueError`.

    Notes
    -----
    A task is used as a context manager and called inside it. `__enter__` and `__exit__` may be overridden for what must
    be set up and torn down in any case; both must then call the overridden method. Records logged after
    ``super().__exit__()`` are not forwarded. In a workflow, a task whose `__exit__` suppresses an exception has failed
    nevertheless. Calling a task outside a ``with`` statement runs it as well.

    Examples
    --------
    >>> class Greet(TaskBase):
    ...     def run(self):
    ...         with self.apm_step("greet", labels={"manner": "kind"}):
    ...             print(f"hello, recipe run {self.recipe_run_id}")
    >>> with Greet(recipe_run_id=1, workflow_name="demo", workflow_version="1.0") as task:
    ...     task()
    hello, recipe run 1
    """

    retries: int = 0
    retry_delay_seconds: float = 60

    def __init__(self, recipe_run_id: int, workflow_name: str, workflow_version: str) -> None:
        self.recipe_run_id = as_recipe_run_id(recipe_run_id)
        self.workflow_name = workflow_name
        self.workflow_version = workflow_version
        self.task_name = type(self).__name__
        self._listeners: Listeners | None = None
        self._is_entered = False
        logger.info("Task %s initialized", self.task_name)

    def pre_run(self) -> None:
        """Do what comes before `run`. Does nothing unless overridden; inside the span ``Pre Run``."""

    @abstractmethod
    def run(self) -> None:
        """Do the work of the task. Must be overridden; inside the span ``Run``."""

    def post_run(self) -> None:
        """Do what comes after a `run` that succeeded. Does nothing unless overridden; inside the span ``Post Run``."""

    def rollback(self) -> None:
        """
        Undo what the task did to persistent stores for its recipe run.

        Does nothing unless overridden. No workflow calls it; a person does, from a notebook or by
        ``dkist-processing-core rollback``, inside the task's ``with`` statement, in a process in which neither
        `pre_run`, `run` nor `post_run` has run. It undoes what this task did for this recipe run and nothing else. It
        may be called after a success, half a run, no run, or another rollback; what does not exist any more is not an
        error. It raises if something could not be undone, and can then be called again.
        """

    def __call__(self) -> None:
        """Run `pre_run`, `run` and `post_run`, each in its span, until one of them raises."""
        if self._is_entered:
            self._run_phases()
            return
        try:
            self._run_phases()
        except BaseException as error:
            self._close(error)
            raise
        self._close(None)

    def _run_phases(self) -> None:
        listeners = self._listen()
        listeners.started()
        try:
            self.task_execution_counter.add(1, self.base_telemetry_attributes)
        except Exception as error:
            logger.warning("The metric of the task could not be recorded: %s: %s", type(error).__name__, error)
        logger.info("Task %s started", self.task_name, extra=LISTENED)
        for name, phase in (("Pre Run", self.pre_run), ("Run", self.run), ("Post Run", self.post_run)):
            with listeners.phase(name):
                _check_that_it_ran(phase(), name.lower().replace(" ", "_"))
        logger.info("Task %s complete", self.task_name, extra=LISTENED)

    def apm_step(
        self,
        name: str,
        span_type: str = CUSTOM_SPAN_TYPE,
        labels: Mapping[str, AttributeValue] | None = None,
        **_: Any,
    ) -> AbstractContextManager[Span]:
        """
        Record a stretch of work as a span, in the spelling of Elastic APM.

        Parameters
        ----------
        name
            What the work is.
        span_type
            Kind of work, dotted (Elastic's ``type.subtype.action``).
        labels
            Attributes of the work.

        Returns
        -------
        context manager
            It yields the span, which has ``set_attribute`` and ``set_attributes``. Without telemetry it does nothing.
        """
        return (self._listeners or self._listen()).telemetry.span(name, span_type, labels or {}, NO_OPTIONS)

    def telemetry_span(
        self,
        name: str,
        context: Any = None,
        kind: Any = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        **options: Any,
    ) -> AbstractContextManager[Any]:
        """
        Record a stretch of work as a span, in the spelling of OpenTelemetry; otherwise as `apm_step`.

        Parameters
        ----------
        name
            What the work is.
        context, kind, **options
            As of OpenTelemetry's ``start_as_current_span``; other back ends ignore them.
        attributes
            Attributes of the work.
        """
        options |= {key: value for key, value in (("context", context), ("kind", kind)) if value is not None}
        return (self._listeners or self._listen()).telemetry.span(name, CUSTOM_SPAN_TYPE, attributes or {}, options)

    @cached_property
    def environment(self) -> "TaskEnvironment":
        """
        The environment that the task runs in, for a header or a database: its identity, requirement and distributions.

        Nothing is read before it is asked for. In an environment that the worker program did not build, as in a test
        or a notebook, ``identity`` and ``requirement`` are None and ``distributions`` are those that are installed.

        Examples
        --------
        >>> identity = task.environment.identity  # doctest: +SKIP
        >>> header["HISTORY"] = f"ran in {identity}"  # doctest: +SKIP
        """
        from dkist_processing_core.runtime.environment import TaskEnvironment

        return TaskEnvironment()

    @property
    def base_telemetry_attributes(self) -> dict[str, str | int]:
        """The attributes that are recorded for the task; use them for a team's own metrics."""
        from dkist_processing_core.telemetry.attributes import task_attributes

        return task_attributes(self._metadata())

    @property
    def tracer(self) -> Any:
        """OpenTelemetry's tracer of this task; without OpenTelemetry, an object with its methods."""
        return self._listen().telemetry.tracer

    @property
    def meter(self) -> Any:
        """OpenTelemetry's meter of this task; without OpenTelemetry, an object with its methods, without effect."""
        return self._listen().telemetry.meter

    @property
    def task_execution_counter(self) -> Any:
        """The counter of the tasks that have run, ``dkist.processing.tasks.executed``."""
        return self.meter.create_counter(
            self.format_metric_name("tasks.executed"), unit="1", description="Number of tasks that were run."
        )

    def format_metric_name(self, name: str) -> str:
        """Return the full name of a metric of a processing task; the argument is dotted, such as ``tasks.executed``."""
        return f"{self.meter.name}.processing.{name}"

    def _metadata(self) -> TaskMetadata:
        return TaskMetadata(
            recipe_run_id=self.recipe_run_id,
            workflow_name=self.workflow_name,
            workflow_version=self.workflow_version,
            task_name=self.task_name,
            environment_identity=os.environ.get(ENVIRONMENT_IDENTITY) or None,
        )

    def _listen(self) -> Listeners:
        if self._listeners is None:
            self._listeners = Listeners(self._metadata())
        return self._listeners

    def _close(self, error: BaseException | None) -> None:
        listeners, self._listeners = self._listeners, None
        if listeners is not None:
            listeners.close(error)

    def __enter__(self) -> Self:
        """Begin to record the task. An override must return what this returns."""
        self._is_entered = True
        self._listen().entered()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """End the record of the task, whether or not it succeeded. An override must call this."""
        self._is_entered = False
        self._close(exc_val)

    def __repr__(self) -> str:
        return (
            f"{self.task_name}(recipe_run_id={self.recipe_run_id!r}, workflow_name={self.workflow_name!r}, "
            f"workflow_version={self.workflow_version!r})"
        )
