"""
Our failure message in the hands of talus, the library that today's consumers are built on.

It is installed from the package index into an environment of its own and runs there, in another process.
"""

import json
import logging
import textwrap
from types import SimpleNamespace

import pytest
from support.command_line import run_command
from support.messages import QUEUE
from support.releases import new_environment

from dkist_processing_core.failure_callback import chat_ops_notification
from dkist_processing_core.isb import spool

pytestmark = [pytest.mark.network, pytest.mark.rabbitmq]

RELEASE = "1.3.4"
TYPES = ["classic", "quorum"]

# What a service states: the keys that it reads, by the base class of talus, and where the messages are.
SERVICE = """
    import json
    import sys

    import talus

    port, queue_type = int(sys.argv[1]), sys.argv[2]
    arguments = {"x-queue-type": queue_type} if queue_type else None
    queue = talus.Queue(name="recipe.run.failure.q", arguments=arguments)


    class FailureBody(talus.MessageBodyBase):
        workflowName: str
        workflowVersion: str
        taskName: str
        dagRunId: str | None
        logUrl: str | None


    class Failure(talus.ConsumeMessageBase):
        message_body_cls: type[FailureBody] = FailureBody


    def consumer():
        return talus.DurableConsumer(
            consume_queue=queue,
            connection_parameters=talus.ConsumerConnectionParameterFactory(rabbitmq_port=port),
            connection_retryer=talus.ConnectionRetryerFactory(attempts=1),
        )


    def show(message):
        fields = list(FailureBody.model_fields)
        told = {"body": message.body.model_dump(include=fields), "more": sorted(message.body.model_extra)}
        print(json.dumps({**told, "message_id": message.properties.message_id, "routing_key": message.routing_key}))
"""
CONSUME_BY_GENERATOR = """
    with consumer() as connected:
        for method, properties, body in connected.consume_generator(inactivity_timeout=1):
            if method is None:
                break
            show(Failure(method=method, properties=properties, body=body))
            connected.acknowledge_message(method.delivery_tag)
"""
LISTEN = """
    class Show(talus.MessageProcessorBase):
        def process_message(self, message):
            show(message)
            connected.channel.stop_consuming()


    with consumer() as connected:
        connected.listen(Show(message_cls=Failure))
"""
PRODUCE = """
    class FailureToPublish(talus.PublishMessageBase):
        message_body_cls: type[FailureBody] = FailureBody
        default_routing_key: str = "recipe.run.failure.m"


    with talus.DurableProducer(
        queue_bindings=talus.Binding(queue=queue, message=FailureToPublish),
        publish_exchange=talus.Exchange(name="master.direct.x"),
        connection_parameters=talus.ProducerConnectionParameterFactory(rabbitmq_port=port),
        connection_retryer=talus.ConnectionRetryerFactory(attempts=1),
    ) as producer:
        if "publish" in sys.argv:
            facts = dict.fromkeys(FailureBody.model_fields, "theirs")
            producer.publish(FailureToPublish(body=facts))
"""


@pytest.fixture(scope="module")
def talus(tmp_path_factory):
    """The Python of an environment with talus, and nothing of ours."""
    try:
        return new_environment(tmp_path_factory.mktemp("talus") / "venv", f"talus=={RELEASE}")
    except AssertionError as reason:
        pytest.skip(f"talus cannot be installed: {reason}")


@pytest.fixture(params=TYPES)
def queue_type(request, monkeypatch):
    """Each type that the queue can have, as the settings state it."""
    monkeypatch.setenv("ISB_QUEUE_TYPE", request.param or "classic")  # for which the broker takes one without a type
    return request.param


def run(talus, broker, queue_type, part, *arguments):
    """Run a service; return what it shows of each message."""
    program = textwrap.dedent(SERVICE) + textwrap.dedent(part)
    done = run_command(talus, "-c", program, str(broker.port), queue_type, *arguments).check()
    return [json.loads(line) for line in done.stdout.splitlines()]


def report_failure(caplog):
    """Let Airflow's callback report a failure, of which it knows everything; nothing may be amiss."""
    instance = SimpleNamespace(
        task_id="Calibrate", dag_id="w_1", log_url="http://airflow/log", try_number=1, map_index=-1, hostname="worker"
    )
    with caplog.at_level(logging.WARNING):
        message = chat_ops_notification({"run_id": "manual__1", "task_instance": instance}, "w", "1", "Calibrate")
    assert caplog.messages == []
    assert list(spool.pending()) == []
    return message


def assert_understood(shown, message):
    """The six keys are those that were sent; the others are there too."""
    assert shown["message_id"] == message.message_id
    assert shown["routing_key"] == "recipe.run.failure.m"
    assert shown["body"] == {
        "conversationId": message.message_id,
        "workflowName": "w",
        "workflowVersion": "1",
        "taskName": "Calibrate",
        "dagRunId": "manual__1",
        "logUrl": "http://airflow/log",
    }
    assert set(shown["more"]) == set(message.body.model_dump()) - set(shown["body"])


@pytest.mark.parametrize("part", [CONSUME_BY_GENERATOR, LISTEN], ids=["generator", "listener"])
def test_it_takes_our_message_from_a_queue_that_we_declared(talus, broker, queue_type, part, caplog):
    """Its consumer accepts queue and exchange as they are, its message processor the body; the queue is empty then."""
    message = report_failure(caplog)
    [shown] = run(talus, broker, queue_type, part)
    assert_understood(shown, message)
    assert broker.take_all(QUEUE) == []


def test_its_producer_accepts_what_we_declared(talus, broker, queue_type, caplog):
    """Its message and ours are read from the same queue."""
    message = report_failure(caplog)
    run(talus, broker, queue_type, PRODUCE, "publish")
    ours, theirs = run(talus, broker, queue_type, CONSUME_BY_GENERATOR)
    assert_understood(ours, message)
    assert theirs["body"]["workflowName"] == "theirs"


@pytest.mark.parametrize("part", [PRODUCE, CONSUME_BY_GENERATOR], ids=["producer", "consumer"])
@pytest.mark.parametrize("queue_type", [*TYPES, ""], indirect=True)
def test_we_accept_what_it_declared(talus, broker, queue_type, part, caplog):
    """The queue alone, or all, with or without a type, is declared again without a warning; the message arrives."""
    assert run(talus, broker, queue_type, part) == []
    message = report_failure(caplog)
    [shown] = run(talus, broker, queue_type, LISTEN)
    assert_understood(shown, message)
