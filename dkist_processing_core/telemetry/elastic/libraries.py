"""
Which libraries the Elastic APM agent watches.

Runs in: task environment, when ``ELASTIC_APM_ENABLED`` says so.
"""

import os

from elasticapm.instrumentation import register

__all__ = ["instrument"]

SETTING = "DKIST_APM_DISABLED_INSTRUMENTATIONS"
FLOODS = "redis"
ALL = "all"
PLACE = "elasticapm.instrumentation.packages."


def instrument() -> None:
    """
    Let the agent record calls of libraries that it knows, such as requests and the clients of databases.

    ``DKIST_APM_DISABLED_INSTRUMENTATIONS`` names those that are left out, by the names of the agent's own modules;
    redis alone unless it is set, since a task may call that thousands of times in a second.
    """
    setting = os.environ.get(SETTING)
    disabled = {name.strip().lower() for name in (FLOODS if setting is None else setting).split(",")}
    if ALL in disabled:
        return
    for each in register.get_instrumentation_objects():
        names = set(type(each).__module__.removeprefix(PLACE).split("."))
        # The asynchronous variant of a library is another module of the agent's, such as aioredis and redis_asyncio.
        parts = {part.removeprefix("aio") for name in names for part in name.split("_")}
        if not disabled & (names | parts):
            each.instrument()
