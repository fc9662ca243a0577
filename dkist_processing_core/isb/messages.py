"""
The message on the interservice bus that a task has failed.

Runs in: worker, DAG processor. Consumers depend on the names and keys, see "Messages" in the documentation.
"""

import time
import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dkist_processing_core.isb.envelope import Envelope

__all__ = ["RecipeRunFailureMessage", "RecipeRunFailureMessageBody"]


class RecipeRunFailureMessageBody(BaseModel):
    """
    Body of the message that a task has failed.

    The first six are permanent, since consumers read them. What is not known is null.
    """

    model_config = ConfigDict(extra="allow")

    conversationId: str = Field(default_factory=lambda: uuid.uuid4().hex, description="32 hexadecimal digits.")
    workflowName: str = Field(description="Name of the workflow.")
    workflowVersion: str = Field(description="Version of the workflow.")
    taskName: str = Field(description="Name of the task that failed.")
    dagRunId: str | None = Field(default=None, description="Airflow's id of the run.")
    logUrl: str | None = Field(default=None, description="Where the log of the task can be read.")
    dagId: str | None = Field(default=None, description="Airflow's id of the DAG.")
    recipeRunId: int | str | None = Field(default=None, description="The recipe run that the run was triggered with.")
    tryNumber: int | None = Field(default=None, description="Number of the try that failed, from 1.")
    mapIndex: int | None = Field(default=None, description="Airflow's map index of a mapped task.")
    host: str | None = Field(default=None, description="Name of the worker.")
    exitCode: int | None = Field(default=None, description="Exit status of the task.")
    signal: str | None = Field(default=None, description="Name of the signal that ended the task.")
    error: str | None = Field(default=None, description="Last lines of the error.")
    traceId: str | None = Field(default=None, description="Id of the trace, with telemetry.")
    transactionId: str | None = Field(default=None, description="Id of the transaction, or root span, with telemetry.")


class RecipeRunFailureMessage:
    """
    The message that a task has failed.

    Parameters
    ----------
    body
        The body, or the mapping or JSON text that one is made of.
    message_id
        Duplicates carry the same id. The body's ``conversationId`` by default.
    """

    message_body_cls = RecipeRunFailureMessageBody
    default_routing_key = "recipe.run.failure.m"
    queue = "recipe.run.failure.q"
    message_type = "recipe.run.failure"

    def __init__(
        self, body: RecipeRunFailureMessageBody | dict[str, Any] | str | bytes, message_id: str | None = None
    ) -> None:
        if isinstance(body, (str, bytes)):
            self.body = self.message_body_cls.model_validate_json(body)
        else:
            self.body = self.message_body_cls.model_validate(body)
        self.routing_key = self.default_routing_key
        self.message_id = message_id or self.body.conversationId
        self.timestamp = int(time.time())

    def envelope(self) -> Envelope:
        """Return the message with everything that is needed to publish it."""
        return Envelope(
            routing_key=self.routing_key,
            queue=self.queue,
            body=self.body.model_dump_json(),
            message_id=self.message_id,
            type=self.message_type,
            timestamp=self.timestamp,
        )

    @property
    def properties(self) -> Any:
        """The AMQP properties of the message, pika's, for a producer of talus."""
        from dkist_processing_core.isb.amqp import message_properties

        return message_properties(self.envelope())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.body!r})"
