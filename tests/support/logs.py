"""Run tasks whose log goes to the interservice bus, and look at what arrives there."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pika.exceptions

from support.command_line import ended, start_command
from support.waiting import wait_until

QUEUE = "task.log.q"
ROUTING_KEY = "task.log.m"

TASKS = """
    import logging, multiprocessing, os, signal, subprocess, sys, threading, time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    logger = logging.getLogger("team.camera")

    class Good(TaskBase):
        def pre_run(self):
            logger.debug("a debug record")
        def run(self):
            for number in range(20):
                logger.info("frame %d", number)
            thread = threading.Thread(target=logger.warning, args=["from a thread"], name="reader")
            thread.start()
            thread.join()

    class Bad(TaskBase):
        def run(self):
            logger.info("about to fail")
            raise RuntimeError("the flat is missing")

    class Leaves(TaskBase):
        def run(self):
            sys.exit(0)

    class Odd(TaskBase):
        def run(self):
            class Name(str):
                pass
            class Raises:
                def __str__(self):
                    raise RuntimeError("no text")
                __repr__ = __str__
            logging.addLevelName(25, "NOTICE")
            logger.log(25, "a level of theirs")
            logger.info("half a pair: \\udc80 \\ud800")
            logger.info("not\\0printable \U0001f600 \\u2028")
            logger.info({"a": 1})
            logger.info("")
            logger.info(Name("a text of theirs"), extra={"frame": 7, "levels": None})
            logging.getLogger(Name("team.named")).info("a name of theirs")
            threading.current_thread().name = Name("thread of theirs")
            logger.info("from there")
            logger.info("%d frames", "no number")
            logger.info(Raises())
            logger.info("with %s", Raises())
            logger.info("x" * 1_000_000)
            logger.info("with stack", stack_info=True)
            try:
                raise ValueError("\\udc80")
            except ValueError:
                logger.exception("caught")
            logger.error("nothing was raised", exc_info=True)
            logger.handle(logging.makeLogRecord({
                "name": "by.hand", "msg": "made", "levelno": 20, "levelname": "INFO", "created": float("inf"),
            }))
            silent = logging.getLogger("team.silent")
            silent.propagate = False
            silent.info("of a logger that does not propagate")

    class Configures(TaskBase):
        def pre_run(self):
            logging.basicConfig(format="THEIRS %(message)s", level="DEBUG", stream=sys.stdout)
        def run(self):
            logger.info("by %s", "theirs")
            logging.basicConfig(format="FORCED %(message)s", level="INFO", stream=sys.stdout, force=True)
            logger.info("by %s", "another one")

    class Library(TaskBase):
        def run(self):
            logging.getLogger("team").addHandler(logging.NullHandler())
            logger.error("the flat is missing")
            logging.getLogger("team").addHandler(logging.StreamHandler(sys.stdout))
            logger.error("theirs alone")

    class Floods(TaskBase):
        def run(self):
            for number in range(30_000):
                logger.info("frame %d", number)

    class Ticks(TaskBase):
        def run(self):
            number = 0
            Path("running").write_text(str(os.getpid()))
            while not Path("enough").exists():
                logger.info("tick %d", number)
                number += 1
                time.sleep(0.02)
            Path("ticks").write_text(str(number))

    class MeetsFault(TaskBase):
        # Logs until records are not sent for a certain reason.
        def run(self):
            [sender] = [each for each in threading.enumerate() if each.name == "dkist-isb-logs"]
            number = 0
            deadline = time.monotonic() + 120
            while os.environ["FAULT"] not in sender.fault:
                logger.info("tick %d", number)
                number += 1
                time.sleep(0.02)
                assert time.monotonic() < deadline, sender.fault
            Path("ticks").write_text(str(number))

    class Interrupted(TaskBase):
        # Signal handlers that log interrupt a loop that logs.
        def run(self):
            handled = []
            def handle(*_):
                try:
                    logger.info("handler")
                    handled.append(1)
                except RuntimeError:
                    pass  # the standard error stream refuses it if the handler has interrupted a write
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
            signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            for number in range(20_000):
                logger.info("loop %d", number)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            Path("handled").write_text(str(len(handled)))

    class ForksEarly(TaskBase):
        # Forks while the modules that talk to the broker are imported; the children import some of them as well.
        def run(self):
            deadline = time.monotonic() + 6
            while time.monotonic() < deadline:
                child = os.fork()
                if child == 0:
                    signal.alarm(120)  # ends the child if it hangs
                    import pika, pydantic_settings
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0

    class Stops(TaskBase):
        def run(self):
            logger.info("about to wait")
            Path("running").write_text(str(os.getpid()))
            time.sleep(600)

    class LastsLong(Good):
        def run(self):
            super().run()
            [sender] = [each for each in threading.enumerate() if each.name == "dkist-isb-logs"]
            deadline = time.monotonic() + 120
            while not sender.confirmed:
                time.sleep(0.05)
                assert time.monotonic() < deadline, sender.fault

    class Forks(TaskBase):
        def run(self):
            def work(number):
                for each in range(500):
                    logger.info("child %d record %d", number, each)
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=work, args=[number]) for number in range(4)]
            for child in children:
                child.start()
                for number in range(500):
                    logger.info("parent %d", number)
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == [0, 0, 0, 0]

    class Imports(TaskBase):
        def run(self):
            logger.info("one")
            time.sleep(2.5)
            print(*{name.partition(".")[0] for name in sys.modules})

    class Enters(Good):
        def __enter__(self):
            super().__enter__()
            logger.info("entered")
            raise RuntimeError("no such folder")
"""


def write_tasks(folder: Path) -> None:
    """Write the module ``team_tasks``."""
    (folder / "team_tasks.py").write_text(textwrap.dedent(TASKS))


class Process(subprocess.Popen):
    """A process whose output is read all the time, since a pipe that is full would hold it up."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        reader = ThreadPoolExecutor(1)
        self._output = reader.submit(super().communicate)
        reader.shutdown(wait=False)

    def communicate(self, *, timeout=None):
        """Wait for the end; return what was written."""
        return self._output.result(timeout)


def start(folder, task, *, program=None, **options):
    """Start the program that runs one task, or another one, in a folder with the module."""
    command = ["-m", "dkist_processing_core.runtime", f"team_tasks:{task}", "--workflow-name", "w"]
    command = ["-c", program] if program else [*command, "--workflow-version", "1"]
    pythonpath = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    variables = {"PYTHONPATH": pythonpath, "DKIST_RECIPE_RUN_ID": "42", "DKIST_ISB_LOGGING": "true"}
    return start_command(sys.executable, *command, kind=Process, cwd=folder, **{**variables, **options})


def run(folder, task, **settings):
    """Run one task to its end; its exit status and what it wrote."""
    return ended(start(folder, task, **settings))


def end_group(process):
    """Kill whatever is left of a task."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Received:
    """What arrives on the bus, in the order in which it comes."""

    def __init__(self, broker):
        self.broker = broker
        self.messages = []

    def take(self):
        with contextlib.suppress(pika.exceptions.AMQPError), contextlib.closing(self.broker.connect()) as connection:
            channel = connection.channel()
            while (got := channel.basic_get(QUEUE, auto_ack=True))[0]:
                self.messages.append(got[1:])

    def until(self, condition):
        """Wait until the records so far are as expected, and return them."""

        def are_as_expected():
            self.take()
            return condition(self.records)

        wait_until(are_as_expected, lambda: f"{len(self.messages)} records, the last of them {self.records[-3:]}")
        return self.records

    def until_the_end(self):
        return self.until(lambda records: any(is_end(record) for record in records))

    @property
    def lines(self):
        """The records of each message."""
        return [[json.loads(line) for line in body.split(b"\n")[:-1]] for _, body in self.messages]

    @property
    def records(self):
        return [record for lines in self.lines for record in lines]

    @property
    def properties(self):
        return [properties for properties, _ in self.messages]


def is_end(record):
    return record["event"] in {"succeeded", "failed"}


def texts(records):
    return [record["message"] for record in records]
