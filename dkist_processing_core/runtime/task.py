"""
The base class of tasks.

Runs in: task environment, and author and CI, where workflows refer to the classes. It imports neither Airflow nor a
renderer, and before a task starts neither a telemetry back end nor anything of the interservice bus.
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

# Not the name of this module, but of the one that teams import, so that they can set its level.
logger = logging.getLogger("dkist_processing_core.task")

NO_OPTIONS: Mapping[str, Any] = {}


def as_recipe_run_id(value: object) -> int:
    """Convert a recipe run id, which may be a text or number equal to an integer, or raise `RecipeRunIdError`."""
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        raise RecipeRunIdError(value) from None
    if isinstance(value, bool) or (not isinstance(value, (str, bytes)) and number != value):
        raise RecipeRunIdError(value)
    return int(number)


def _check_that_it_ran(returned: object, name: str) -> None:
    """Raise `TaskNotRunError` if a method returned a coroutine or a generator, since its body did not run then."""
    if isinstance(returned, CoroutineType):
        returned.close()  # otherwise Python warns that it was never awaited
    elif not isinstance(returned, AsyncGeneratorType) and not (
        isinstance(returned, GeneratorType) and returned.gi_code.co_name == name
    ):
        return
    raise TaskNotRunError(name, type(returned).__name__)


class TaskBase(ABC):
    """
    Base class of tasks, which are the steps of a workflow.

    Subclass it and implement `run`. The task works on the recipe run ``self.recipe_run_id``. The name of the class is
    Airflow's task id. The code of a task does not depend on Airflow.

    Parameters
    ----------
    recipe_run_id
        Id of the recipe run that the task works on: an integer, or a string or number equal to one.
    workflow_name, workflow_version
        Name and version of the workflow that the task runs in.

    Attributes
    ----------
    retries : int
        How often Airflow retries the task after a failure. Class attribute, 0 by default, at most 1,000,000.
    retry_delay_seconds : float
        Time between two tries, in seconds. Class attribute, 60 by default, at most a year.
    recipe_run_id : int
        Id of the recipe run.
    task_name : str
        Name of the class.

    Raises
    ------
    RecipeRunIdError
        If ``recipe_run_id`` is not an integer. It is also a `ValueError`.

    Notes
    -----
    A worker enters the task as a context manager and calls it inside the ``with`` statement. Override `__enter__` and
    `__exit__` for setup and teardown that must also happen if the task fails, and call the overridden methods in them.
    Log records after ``super().__exit__()`` are not sent to the interservice bus. If `__exit__` suppresses an exception
    in a workflow, the task fails nevertheless. A task can also be called without a ``with`` statement, for example in a
    test; `__enter__` and `__exit__` are then not called.

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
        """Prepare for `run`, in the span ``Pre Run``. Does nothing unless overridden."""

    @abstractmethod
    def run(self) -> None:
        """Do the work of the task, in the span ``Run``. Must be overridden."""

    def post_run(self) -> None:
        """Finish after `run` has succeeded, in the span ``Post Run``. Does nothing unless overridden."""

    def rollback(self) -> None:
        """
        Undo what the task did to persistent stores for its recipe run.

        Does nothing unless overridden. No workflow calls it. A person calls it, from a notebook or with
        ``dkist-processing-core rollback``, inside the task's ``with`` statement. `pre_run`, `run` and `post_run` have
        not run in that process.

        An override must undo what this task did for this recipe run, and nothing else. It must work after a success,
        a partial run, no run, or another rollback: what no longer exists is not an error. It must raise an exception if
        something could not be undone, and work when it is called again.
        """

    def __call__(self) -> None:
        """
        Run `pre_run`, `run` and `post_run` in this order, each in its span.

        Raises
        ------
        TaskNotRunError
            If one of them is a coroutine function or a generator function. It is also a `TypeError`.
        Exception
            Whatever one of them raises. The methods after it are not called.
        """
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
        Record a block of code as a span, with the arguments of Elastic APM's ``capture_span``.

        Parameters
        ----------
        name
            Name of the span.
        span_type
            Type of the span, as ``type.subtype.action`` (Elastic APM).
        labels
            Attributes of the span.
        **_
            Other arguments of ``capture_span``, which are ignored.

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
        Record a block of code as a span, with the arguments of OpenTelemetry's ``start_as_current_span``.

        Parameters
        ----------
        name
            Name of the span.
        context, kind, **options
            Passed on to OpenTelemetry. Other back ends ignore them.
        attributes
            Attributes of the span.

        Returns
        -------
        context manager
            As from `apm_step`.
        """
        options |= {key: value for key, value in (("context", context), ("kind", kind)) if value is not None}
        return (self._listeners or self._listen()).telemetry.span(name, CUSTOM_SPAN_TYPE, attributes or {}, options)

    @cached_property
    def environment(self) -> "TaskEnvironment":
        """
        The environment that the task runs in, to record its identity or its distributions in a header or a database.

        In an environment that the worker program did not build, such as that of a test or a notebook, ``identity`` and
        ``requirement`` are None. Each value is read when it is first used.

        Examples
        --------
        >>> identity = task.environment.identity  # doctest: +SKIP
        >>> header["HISTORY"] = f"ran in {identity}"  # doctest: +SKIP
        """
        from dkist_processing_core.runtime.environment import TaskEnvironment

        return TaskEnvironment()

    @property
    def base_telemetry_attributes(self) -> dict[str, str | int]:
        """Telemetry attributes of the task. Add them to the measurements of your own metrics."""
        from dkist_processing_core.telemetry.attributes import task_attributes

        return task_attributes(self._metadata())

    @property
    def tracer(self) -> Any:
        """The OpenTelemetry tracer of this task; without OpenTelemetry, an object with the same methods."""
        return self._listen().telemetry.tracer

    @property
    def meter(self) -> Any:
        """The OpenTelemetry meter of this task; without OpenTelemetry, an object with the same methods."""
        return self._listen().telemetry.meter

    @property
    def task_execution_counter(self) -> Any:
        """Counter of the tasks that were run, ``dkist.processing.tasks.executed``."""
        return self.meter.create_counter(
            self.format_metric_name("tasks.executed"), unit="1", description="Number of tasks that were run."
        )

    def format_metric_name(self, name: str) -> str:
        """Return the full name of a metric, ``dkist.processing.{name}``; ``name`` is dotted, as ``tasks.executed``."""
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
        """Start recording the task, and return it. An override must call this method and return its result."""
        self._is_entered = True
        self._listen().entered()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Stop recording the task, whether or not it succeeded. An override must call this method."""
        self._is_entered = False
        self._close(exc_val)

    def __repr__(self) -> str:
        return (
            f"{self.task_name}(recipe_run_id={self.recipe_run_id!r}, workflow_name={self.workflow_name!r}, "
            f"workflow_version={self.workflow_version!r})"
        )
