"""
From the context of Airflow's failure callback to the message that a task has failed.

Runs in: worker, once a task has failed, and DAG processor, once a run has. Only `context` uses objects of Airflow.
"""
