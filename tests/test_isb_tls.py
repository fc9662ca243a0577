"""The interservice bus by TLS, in a virtual host of its own, and under a name: a real RabbitMQ, real certificates."""

import logging
import re

import pytest
from support.mesh import mesh_config
from support.messages import QUEUE, new_envelope
from support.peers import peer
from support.rabbitmq import OTHER_ADDRESS
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most

from dkist_processing_core.failure_callback import chat_ops_notification
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.pending import send_pending
from dkist_processing_core.isb.publisher import PublishError, deliver, publish


@pytest.fixture
def broker(rabbitmq_with_tls, certificates, monkeypatch):
    """A running RabbitMQ, with nothing declared on it, as the settings name it and trust it."""
    monkeypatch.setenv("MESH_CONFIG", mesh_config(rabbitmq_with_tls.tls_port))
    monkeypatch.setenv("DKIST_ISB_TLS", "true")
    monkeypatch.setenv("DKIST_ISB_CA_FILE", str(certificates.authority))
    rabbitmq_with_tls.forget(QUEUE)
    yield rabbitmq_with_tls
    rabbitmq_with_tls.check()
    rabbitmq_with_tls.forget(QUEUE)


def report_failure():
    return chat_ops_notification({"run_id": "manual__1"}, "w", "1", "T")


def why_not_published():
    """Publish; return why the broker has not confirmed it, and whether that can pass."""
    with pytest.raises(PublishError) as caught:
        publish(new_envelope(), seconds=5)
    return str(caught.value), caught.value.retryable


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_failure_arrives_by_tls(broker, monkeypatch, host):
    """With the authority's certificate, by name and by address."""
    monkeypatch.setenv("MESH_CONFIG", mesh_config(broker.tls_port, host))
    message = report_failure()
    assert [properties.message_id for properties, _ in broker.take_all(QUEUE)] == [message.message_id]
    assert list(spool.pending()) == []


def test_an_authority_that_is_not_trusted_is_a_configuration_error(broker, certificates, monkeypatch, caplog):
    """It names the variable, the message is kept, and it is sent once the variable is set."""
    monkeypatch.delenv("DKIST_ISB_CA_FILE")
    with caplog.at_level(logging.WARNING):
        message = report_failure()
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert "DKIST_ISB_CA_FILE" in caplog.text
    assert not why_not_published()[1]
    assert [each.envelope.message_id for each in spool.pending()] == [message.message_id]
    monkeypatch.setenv("DKIST_ISB_CA_FILE", str(certificates.authority))
    assert len(send_pending().sent) == 1
    assert [properties.message_id for properties, _ in broker.take_all(QUEUE)] == [message.message_id]


def test_a_certificate_for_another_host_is_a_configuration_error(broker, monkeypatch):
    """A server that is reached by an address which its certificate does not name is not trusted."""
    monkeypatch.setenv("MESH_CONFIG", mesh_config(broker.tls_port, OTHER_ADDRESS))
    reason, retryable = why_not_published()
    assert f"certificate is not valid for '{OTHER_ADDRESS}'" in reason
    assert "the host name in MESH_CONFIG" in reason
    assert not retryable


@pytest.mark.parametrize("kind", ["missing", "key"])
def test_a_file_without_certificates_is_a_configuration_error(certificates, tmp_path, monkeypatch, kind):
    """It names the variable, the file and what it must be, before any broker is asked; the message is kept."""
    file = certificates.server_key if kind == "key" else tmp_path / kind
    monkeypatch.setenv("DKIST_ISB_TLS", "true")
    monkeypatch.setenv("DKIST_ISB_CA_FILE", str(file))
    reason, retryable = why_not_published()
    assert f"DKIST_ISB_CA_FILE {str(file)!r} cannot be used: " in reason
    assert reason.endswith("It must be a file with certificates (PEM).")
    assert not retryable
    message = report_failure()
    assert [each.envelope.message_id for each in spool.pending()] == [message.message_id]


def test_tls_at_a_port_without_it_is_a_configuration_error(broker, monkeypatch):
    """In bounded time, with the variable to check."""
    monkeypatch.setenv("MESH_CONFIG", mesh_config(broker.port))
    reason, retryable = why_not_published()
    assert "WRONG_VERSION_NUMBER" in reason
    assert "check DKIST_ISB_TLS" in reason
    assert not retryable


def test_no_tls_at_a_port_with_it_ends_in_bounded_time(broker, monkeypatch):
    """The server hangs up, as one that starts just now may too, so it is tried again; the reason asks for TLS."""
    monkeypatch.setenv("DKIST_ISB_TLS", "false")
    reason, retryable = why_not_published()
    assert "does it require TLS?" in reason
    assert retryable


def test_a_peer_that_keeps_silent_instead_of_speaking_tls_costs_bounded_time(monkeypatch):
    """Publishing ends within its limit, and may be tried again."""
    monkeypatch.setenv("DKIST_ISB_TLS", "true")
    with peer(lambda connection: None) as port:
        monkeypatch.setenv("MESH_CONFIG", mesh_config(port))

        def attempt():
            assert why_not_published()[1]

        assert_takes_at_most(6, attempt)


def test_a_broker_that_goes_away_is_tried_again_by_tls_too(broker):
    """While it is down the message is kept for a reason that can pass, and arrives once it is back."""
    with broker.stopped():
        reason, retryable = why_not_published()
    assert "ConnectionRefusedError" in reason
    assert retryable
    publish(new_envelope())
    assert len(broker.take_all(QUEUE)) == 1


def test_messages_go_to_the_virtual_host_that_is_named(broker, monkeypatch):
    """And to no other one."""
    broker.control("add_vhost", "processing")
    try:
        broker.control("set_permissions", "--vhost", "processing", "guest", ".*", ".*", ".*")
        publish(new_envelope(1))
        monkeypatch.setenv("DKIST_ISB_VIRTUAL_HOST", "processing")
        publish(new_envelope(2))
        assert [int(each.message_id) for each, _ in broker.take_all(QUEUE, "processing")] == [2]
        assert [int(each.message_id) for each, _ in broker.take_all(QUEUE)] == [1]
    finally:
        broker.control("delete_vhost", "processing")


@pytest.mark.parametrize("name", [None, "worker 7"], ids=["default", "named"])
def test_connections_have_a_name_on_the_broker(broker, monkeypatch, name):
    """That of this machine, or the one that is set, as the broker's own tools show it while it lasts."""
    if name:
        monkeypatch.setenv("DKIST_ISB_CONNECTION_NAME", name)
    shown = []
    errors = deliver(
        [new_envelope()],
        seconds=PATIENCE_SECONDS,
        on_confirmed=lambda _: shown.append(broker.control("list_connections", "ssl", "client_properties")),
    )
    assert errors == {}
    expected = re.escape(name) if name else r"dkist-processing-core@\S+"
    assert re.search(rf'true\t.*"connection_name","{expected}"', shown[0]), shown
