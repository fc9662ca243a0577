"""Damaged files in the spool folder."""

import pytest
from support.messages import QUEUE, new_envelope

from dkist_processing_core.isb import spool
from dkist_processing_core.isb.publisher import deliver
from dkist_processing_core.isb.spool import send_pending


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    "text",
    [
        new_envelope(message_id="x" * 300).to_json(),
        new_envelope(type="x" * 300).to_json(),
        new_envelope(queue="").to_json(),
        new_envelope(body="\ud800").to_json(),
        new_envelope(timestamp=-1).to_json(),
        new_envelope(timestamp=2**70).to_json(),
        "[" * 200000,
    ],
    ids=["long-id", "long-type", "no-queue", "surrogate", "negative-time", "huge-time", "nested"],
)
def test_a_file_that_can_never_be_sent_holds_up_no_other(broker, text):
    """It remains, with what is wrong with it; the message after it is sent."""
    folder = spool.spool_folder()
    folder.mkdir()
    (folder / "1-x.json").write_text(text)
    spool.write(new_envelope(2))
    report = send_pending(seconds=5)
    assert [file.name for file, _ in report.pending] == ["1-x.json"]
    assert len(report.sent) == 1
    assert [properties.message_id for properties, _ in broker.take_all(QUEUE)] == [f"{2:032x}"]


def test_a_delivery_without_time_is_an_error():
    """Without an attempt."""
    [error] = deliver([new_envelope()], seconds=0).values()
    assert str(error).endswith("no time left")
