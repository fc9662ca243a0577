"""
The deployed releases: list them, ask Airflow about their runs, retire and restore them.

Runs in: terminal of the scheduler's machine. It needs no installation of Airflow, only its REST API.
"""
