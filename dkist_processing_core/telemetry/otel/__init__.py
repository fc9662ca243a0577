"""
Telemetry by OpenTelemetry.

Runs in: task environment, when there is an endpoint to send to. It needs the extra ``otel``.
"""
