"""
The interservice bus (ISB): a RabbitMQ broker on which other services hear of what happens here.

Runs in: worker. Nothing is imported here, so that the callback can import one part without the others.
"""
