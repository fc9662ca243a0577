"""The sources of a release whose tasks the tests of the worker program run."""

from support.sources import workflows

TASKS = '''
    """Tasks that show where and how they run."""

    import json
    import logging
    import os
    import signal
    import subprocess
    import sys
    import textwrap
    import threading
    import time
    from pathlib import Path

    from dkist_processing_core import TaskBase

    class Good(TaskBase):
        """Show that it ran."""
        def run(self):
            logging.getLogger("team").info("good, recipe run %s", self.recipe_run_id)

    class Bad(TaskBase):
        """Fail."""
        def run(self):
            raise RuntimeError("the flat is missing")

    class Asserts(TaskBase):
        """Fail by an assertion."""
        def run(self):
            assert os.environ.get("NONE"), "the flat is missing"

    class RunsAScript(TaskBase):
        """Run a script of the team, with bash."""
        def run(self):
            script = 'enter && cd lib >&2 && [ "$PWD" = /usr/lib ] && echo done >"$FACTS"'
            functions = "enter() { go /usr; }; go() { cd $1; }; false | true; [ ${PIPESTATUS[0]} = 1 ]"
            subprocess.run(["bash", "-c", f"{functions} && {script}"], check=True)

    class ShowsItsPlace(TaskBase):
        """Write down what the task sees."""
        def run(self):
            try:
                import airflow
            except ImportError:
                airflow = None
            facts = {
                "variables": dict(os.environ),
                "prefix": sys.prefix,
                "path": sys.path,
                "has_airflow": airflow is not None,
                "recipe_run_id": self.recipe_run_id,
            }
            Path(os.environ["FACTS"]).write_text(json.dumps(facts))

    class ShowsItsMask(TaskBase):
        """Print the umask."""
        def run(self):
            print(f"umask {os.umask(0):o}", flush=True)

    class Waits(TaskBase):
        """Say its process id and wait; end in order when told to."""
        def run(self):
            Path(os.environ["FACTS"]).write_text(str(os.getpid()))
            time.sleep(600)

        def __exit__(self, *error):
            super().__exit__(*error)
            print("torn down", flush=True)
            Path(os.environ["FACTS"] + ".torn_down").touch()

    class WaitsUnaware(Waits):
        """Wait while another thread gets the signals."""
        def run(self):
            threading.Thread(target=time.sleep, args=[600], daemon=True).start()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            super().run()

    class WaitsStopped(Waits):
        """Wait as a process that is stopped."""
        def run(self):
            Path(os.environ["FACTS"]).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)

    class Stubborn(TaskBase):
        """Ignore SIGTERM, and have a child that does so too."""
        def run(self):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen(["sleep", "600"], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
            Path(os.environ["FACTS"]).write_text(f"{os.getpid()} {child.pid}")
            time.sleep(600)

    class ClosesEverything(TaskBase):
        """Fail after all descriptors are closed and their numbers are taken by files of the task."""
        def run(self):
            os.closerange(0, 1000)
            self.files = [open(f"{os.environ['FACTS']}.{number}", "w") for number in range(30)]
            raise RuntimeError("the flat is missing")

    class OpensTooMany(TaskBase):
        """Fail since no further file can be opened."""
        def run(self):
            self.files = []
            while True:
                self.files.append(open(os.devnull))

    class SharesMemory(TaskBase):
        """Fail, or be killed, with a segment of shared memory."""
        def run(self):
            from multiprocessing.shared_memory import SharedMemory

            self.memory = SharedMemory(create=True, size=1000)
            # The resource tracker unlinks the segment when nobody has its pipe open any more, as a forked child has.
            if os.environ["HOW"] != "alone" and os.fork() == 0:
                if os.environ["HOW"] == "in-a-session":
                    os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(600)
            if os.environ["HOW"] == "stubborn":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                Path(os.environ["FACTS"]).write_text(str(os.getpid()))
                time.sleep(600)
            raise RuntimeError("the flat is missing")

    class LeavesAChild(TaskBase):
        """Succeed, with a child still running."""
        def run(self):
            child = subprocess.Popen(["sleep", "600"])
            Path(os.environ["FACTS"]).write_text(str(child.pid))

    DAEMON = """
    import os, sys, time
    # Three generations, each in a session of its own, and each but the last an orphan's parent that stays.
    for _ in range(3):
        if os.fork() and os.fork():
            os._exit(0)
        os.setsid()
        with open(sys.argv[1], "a") as file:
            file.write(f"{os.getpid()} ")
    time.sleep(600)
    """

    class Daemonises(TaskBase):
        """Leave daemons that have the log open, ignore no signal and belong to nobody; then end as it is told."""
        def run(self):
            facts = os.environ["FACTS"]
            subprocess.Popen([sys.executable, "-c", textwrap.dedent(DAEMON), f"{facts}.daemons"])
            while len(Path(f"{facts}.daemons").read_text().split() if Path(f"{facts}.daemons").exists() else []) < 6:
                time.sleep(0.05)
            Path(facts).write_text(str(os.getpid()))
            if os.environ.get("STAYS"):
                time.sleep(600)

    class LeavesABriefChild(TaskBase):
        """Succeed while a child still has something to finish."""
        def run(self):
            subprocess.Popen(["sh", "-c", 'sleep 0.1; echo finished >"$FACTS"'])

    class ExitsSilently(TaskBase):
        """End the process with success before the task is done."""
        def run(self):
            os._exit(0)

    class LooksForZombies(TaskBase):
        """Write down the children of the parent after an orphan has ended."""
        def run(self):
            subprocess.run(["sh", "-c", "sleep 0.1 & exit"])
            children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children")
            deadline = time.monotonic() + 100
            while len(children.read_text().split()) > 1 and time.monotonic() < deadline:
                time.sleep(0.05)
            Path(os.environ["FACTS"]).write_text(json.dumps([str(os.getpid()), children.read_text().split()]))
'''

NAME = "dkist-script-test"
GRAPH = dict.fromkeys(("Good", "Bad", "ShowsItsPlace", "Waits", "Stubborn", "LeavesAChild"), "")
WORKFLOWS = workflows("dkist_script_test", "script", {"": GRAPH})

FILES = {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS}
