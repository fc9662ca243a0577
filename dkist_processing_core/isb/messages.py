"""
The messages that go out on the interservice bus.

Runs in: worker. Today's consumers bind to the names and keys that are here, see "Messages" in the documentation.
"""

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dkist_processing_core import environment
from dkist_processing_core.isb.envelope import Envelope

__all__ = ["RecipeRunFailureMessage", "RecipeRunFailureMessageBody"]


class RecipeRunFailureMessageBody(BaseModel):
    """Body of the message that a task has failed."""

    model_config = ConfigDict(extra="allow")

    conversationId: str = Field(default_factory=lambda: uuid.uuid4().hex, description="32 hexadecimal digits.")
    workflowName: str = Field(description="Name of the workflow.")
    workflowVersion: str = Field(description="Version of the workflow.")
    taskName: str = Field(description="Name of the task that failed.")
    dagRunId: str | None = Field(default=None, description="Airflow's id of the run.")
    logUrl: str | None = Field(default=None, description="Where the log of the task can be read.")


class RecipeRunFailureMessage:
    """
    The message that a task has failed.

    Parameters
    ----------
    body
        The body, or the mapping or JSON text that one is made of.
    message_id
        What tells a repetition of the message from another one; taken from the body's ``conversationId`` by default.
    """

    message_body_cls = RecipeRunFailureMessageBody
    default_routing_key = "recipe.run.failure.m"
    queue = "recipe.run.failure.q"

    def __init__(
        self, body: RecipeRunFailureMessageBody | dict[str, Any] | str | bytes, message_id: str | None = None
    ) -> None:
        if isinstance(body, (str, bytes)):
            self.body = self.message_body_cls.model_validate_json(body)
        else:
            self.body = self.message_body_cls.model_validate(body)
        self.routing_key = self.default_routing_key
        self.message_id = message_id or self.body.conversationId

    def envelope(self) -> Envelope:
        """
        Return the message with where it goes according to the settings.

        These are read without the configuration class, so that a message can be kept even if another setting, which
        only publishing needs, is malformed.
        """
        return Envelope(
            exchange=environment.isb_exchange(),
            routing_key=self.routing_key,
            queue=self.queue,
            body=self.body.model_dump_json(),
            message_id=self.message_id,
            queue_arguments=environment.isb_queue_arguments(),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.body!r})"
