"""
The settings of the interservice bus in the terms of talus, with which client packages publish messages of their own.

Runs in: task environment. This library neither needs talus nor installs it.
"""

from typing import Any

from dkist_processing_core.exceptions import MissingDistributionError

__all__ = ["connection_parameters", "connection_retryer", "exchange"]


def exchange(name: str) -> Any:
    """Return talus' description of the exchange, which is durable and of the type direct."""
    return _talus("isb_publish_exchange").Exchange(name=name)


def connection_parameters(*, host: str, port: int, username: str, password: str, connection_name: str) -> Any:
    """Return talus' factory of the connection parameters of a producer."""
    return _talus("isb_producer_connection_parameters").ProducerConnectionParameterFactory(
        rabbitmq_host=host,
        rabbitmq_port=port,
        rabbitmq_user=username,
        rabbitmq_pass=password,
        connection_name=connection_name,
    )


def connection_retryer() -> Any:
    """Return talus' factory of the retries of a connection."""
    return _talus("isb_connection_retryer").ConnectionRetryerFactory(
        delay_min=1, delay_max=5, backoff=1, jitter_min=1, jitter_max=3, attempts=3
    )


def _talus(feature: str) -> Any:
    try:
        import talus
    except ImportError as error:
        raise MissingDistributionError(f"The setting {feature}", distribution="talus") from error
    return talus
