"""Run the task in this interpreter, as a test or a debugger does."""

import logging

from dkist_processing_tutorial.tasks import CountSunspots

logging.basicConfig(level="INFO", format="%(message)s")

with CountSunspots(recipe_run_id=1, workflow_name="by hand", workflow_version="dev") as task:
    task()
