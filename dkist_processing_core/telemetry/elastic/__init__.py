"""
Telemetry by the Elastic APM agent.

Runs in: task environment, when ``ELASTIC_APM_ENABLED`` says so.
"""
