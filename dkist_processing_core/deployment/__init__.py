"""
The releases that are deployed: which there are, what Airflow knows of their runs, and how one is taken away again.

Runs in: terminal of the scheduler's machine. Airflow need not be installed there; its REST API is asked.
"""
