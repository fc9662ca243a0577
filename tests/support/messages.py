"""Messages for the interservice bus."""

from dkist_processing_core.isb.envelope import Envelope

QUEUE = "recipe.run.failure.q"
OTHER_QUEUE = "other.q"


def new_envelope(number=1, **changes):
    """Return a failure message whose id is a number."""
    values = {"routing_key": "recipe.run.failure.m", "queue": QUEUE, "body": '{"taskName": "T"}'}
    return Envelope(**{**values, "message_id": f"{number:032x}", **changes})
