"""
Check the workflows of the example and export them, as the pipeline of a team does.

A program for the author's environment, which has the example and the library, and no Airflow. It prints what it has
done as JSON. The one argument is the folder to write to.
"""

import json
import sys
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import dkist_processing_example.workflows as workflow_package

from dkist_processing_core.build_utils import export_dags, extract_workflows_from_package, validate_workflows


def main() -> None:
    """Check, export, and print the result."""
    report = validate_workflows(workflow_package)
    tasks = {each.dag_name: len(each.nodes) for each in extract_workflows_from_package(workflow_package)}
    found = {
        "files": {str(file): tasks[file.stem] for file in export_dags(workflow_package, Path(sys.argv[1]))},
        "warnings": [str(warning) for warning in report.warnings],
        "distributions": len(list(distributions())),
        "has_airflow": find_spec("airflow") is not None,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
