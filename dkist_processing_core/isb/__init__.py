"""
The interservice bus (ISB): a RabbitMQ broker that carries messages and logs of tasks to other services.

Runs in: worker, DAG processor, task environment. Nothing is imported here, so that the callback can import one part
without the others.
"""
