"""Hand-written DAG files, without this library."""

HAND_WRITTEN_HEAD = """\
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
"""
HAND_WRITTEN_DAG = """
with DAG("{dag_id}", schedule=None, catchup=False):
"""
HAND_WRITTEN_NODE = """\
    task_{number} = BashOperator(
        task_id="Task{number}",
        bash_command="echo $NUMBER",
        env={{"NUMBER": "{number}"}},
    )
"""
HAND_WRITTEN_EDGE = "    task_{upstream} >> task_{number}\n"


def hand_written(*dag_ids: str, nodes: int) -> str:
    """Return the text of a hand-written file with DAGs of plain nodes in a row."""
    tasks = [HAND_WRITTEN_NODE.format(number=number) for number in range(nodes)]
    edges = [HAND_WRITTEN_EDGE.format(upstream=number - 1, number=number) for number in range(1, nodes)]
    dags = ["".join([HAND_WRITTEN_DAG.format(dag_id=dag_id), *tasks, *edges]) for dag_id in dag_ids]
    return HAND_WRITTEN_HEAD + "".join(dags)
