"""What Airflow stores of exported files, by the thousand, and what it stores again at each pass: nothing."""

import contextlib
import json
import sqlite3
import textwrap

import pytest
from support.declared_workflows import diamond, new_workflow
from support.tasks import First, Fourth, Second, Third

from dkist_processing_core.rendering.dag import dag_file

pytestmark = pytest.mark.airflow

# As often as Airflow likes, so that what it does not write again is unchanged, and not just too young.
AT_ONCE = {"AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0"}
HAND_WRITTEN = """
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

    with DAG("hand_written", schedule=None, catchup=False):
        first = BashOperator(task_id="First", bash_command="echo $NUMBER", env={"NUMBER": "1"})
        second = BashOperator(task_id="Second", bash_command="echo $NUMBER", env={"NUMBER": "2"})
        third = BashOperator(task_id="Third", bash_command="echo $NUMBER", env={"NUMBER": "3"})
        fourth = BashOperator(task_id="Fourth", bash_command="echo $NUMBER", env={"NUMBER": "4"})
        first >> [second, third] >> fourth
"""


def release(size):
    """Return the workflows of a release."""
    made = [new_workflow(detail=f"n{number}", tags=["solar", "infrared", "limb"]) for number in range(size)]
    for workflow in made:
        workflow.add_node(First)
        workflow.add_node(Third, upstreams=First)
        workflow.add_node(Second, upstreams=First)
        workflow.add_node(Fourth, upstreams=[Second, Third])
    return [workflow.spec for workflow in made]


def stored(airflow):
    """Return what is stored of all DAGs, with the times at which it was written."""
    with contextlib.closing(sqlite3.connect(airflow.home / "airflow.db")) as database:
        return {
            table: sorted(database.execute(f"SELECT {columns} FROM {table}"))
            for table, columns in (
                ("dag_version", "dag_id, version_number, id, created_at, last_updated"),
                ("serialized_dag", "dag_id, dag_hash, id, created_at, last_updated"),
                ("dag_code", "dag_id, source_code_hash, id, created_at, last_updated"),
                ("dag_tag", "dag_id, name"),
            )
        }


def test_a_pass_over_unchanged_files_writes_no_dag_again(new_airflow):
    """Another process with another hash seed, in another time zone, finds each version, DAG and text as it is."""
    airflow = new_airflow("unchanged-files")
    (airflow.dags / "release-dags.py").write_text(dag_file(*release(3)))
    (airflow.dags / "golden.py").write_text(dag_file(diamond().spec))
    passes = []
    for number, zone in enumerate(("UTC", "HST10")):
        environment = AT_ONCE | {"PYTHONHASHSEED": str(number), "TZ": zone}
        airflow.run(["airflow", "dags", "reserialize"], environment=environment)
        passes.append(stored(airflow))
    first, second = passes
    assert [row[:2] for row in first["dag_version"]] == [
        ("l0_to_l1_cam_golden_1.0", 1),
        *((f"l0_to_l1_cam_n{number}_1.0", 1) for number in range(3)),
    ]
    assert second == first


def test_a_stored_dag_is_hardly_larger_than_a_hand_written_one(tmp_path):
    """With docs, owner, pool, params and callbacks, which the bare operators lack, it is 1.6 times as large at most."""
    from dkist_processing_core.validation.dag_files import dag_bag, serialisation

    sizes = []
    for name, text in (("ours", dag_file(*release(1))), ("theirs", textwrap.dedent(HAND_WRITTEN))):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        [dag] = dag_bag(file).dags.values()
        sizes.append(len(json.dumps(serialisation().to_dict(dag))))
    ours, theirs = sizes
    assert ours <= 1.6 * theirs, sizes
