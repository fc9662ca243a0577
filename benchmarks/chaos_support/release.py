"""The release that runs: a small package whose tasks record what they do, and its exported workflow."""

import shutil
from pathlib import Path

from support.real_airflow import Airflow
from support.releases import REPOSITORY, build_wheel, export_workflows, make_index, with_links, write_package

__all__ = ["DAG_ID", "TASKS", "deploy"]

NAME = "dkist-chaos"
DAG_ID = "a_to_b_chaos_1.0"
TASKS = ("Begin", "Wide", "Cores", "Card", "Finish")
MODULE = '''
    """Tasks that write one line when they begin and one when they end, and that fail for some recipe runs."""
    import fcntl
    import json
    import os
    import time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class Recorded(TaskBase):
        retry_delay_seconds = 1
        fails_for, fails_in_tries = 0, 0

        def record(self, event):
            """Append one line, which no other process can mix with its own."""
            line = {"event": event, "run": os.environ["AIRFLOW_CTX_DAG_RUN_ID"], "task": self.task_name,
                    "try": self.number, "pid": os.getpid(), "time": time.time()}
            file = os.open(os.environ["CHAOS_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, (json.dumps(line) + "\\n").encode())
            os.close(file)

        def run(self):
            self.number = int(os.environ["AIRFLOW_CTX_TRY_NUMBER"])
            # Nobody else holds the lock unless the same task of the same run is executed by another process now.
            locks = Path(os.environ["CHAOS_RECORD"]).with_suffix(".locks")
            locks.mkdir(exist_ok=True)
            lock = (locks / f"{os.environ['AIRFLOW_CTX_DAG_RUN_ID']}-{self.task_name}").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.record("doubled")
                raise
            self.record("begin")
            time.sleep((self.recipe_run_id * 37 % 10) / 10)
            if self.fails_for and self.recipe_run_id % self.fails_for == 0 and self.number <= self.fails_in_tries:
                self.record("failed")
                raise RuntimeError(f"recipe run {self.recipe_run_id} fails on purpose")
            self.record("end")

    class Begin(Recorded):
        retries = 1
    class Wide(Recorded):
        retries = 1
        fails_for, fails_in_tries = 11, 9
    class Cores(Recorded):
        pass
    class Card(Recorded):
        retries = 2
        fails_for, fails_in_tries = 5, 1
    class Finish(Recorded):
        fails_for, fails_in_tries = 7, 9
'''
WORKFLOW = """
    from dkist_processing_core import Workflow
    from dkist_chaos.tasks import Begin, Card, Cores, Finish, Wide

    chaos = Workflow(input_data="a", output_data="b", category="chaos", workflow_package=__package__,
                     workflow_version="1.0")
    chaos.add_node(Begin)
    chaos.add_node(Wide, upstreams=Begin, resource_queue="high_memory")
    chaos.add_node(Cores, upstreams=Begin, resource_queue="multi_core")
    chaos.add_node(Card, upstreams=Begin, resource_queue="gpu")
    chaos.add_node(Finish, upstreams=[Wide, Cores, Card])
"""


def deploy(folder: Path) -> dict[str, str]:
    """Build the wheels, export the workflow, and return the environment variables of the cluster."""
    shutil.rmtree(folder / "release", ignore_errors=True)
    project = write_package(folder / "release", {"tasks.py": MODULE, "workflows/flow.py": WORKFLOW}, name=NAME)
    core = folder / "release" / "core"
    build_wheel(REPOSITORY, core)
    index = make_index(folder / "index", core, project)
    airflow = Airflow.at(folder / "airflow")
    export_workflows("dkist_chaos.workflows", airflow.dags, sources=project / "src")
    return {**airflow.environment, **with_links(index), "CHAOS_RECORD": str(folder / "record.jsonl")}
