"""
From what Airflow tells a failure callback to the message that a task has failed.

Runs in: worker, once a task has failed, and DAG processor, once a run has.
"""
