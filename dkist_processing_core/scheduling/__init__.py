"""
What exported DAG files import: the DAG factory.

Runs in: scheduler, DAG processor and worker, with Airflow and the standard library alone.
"""
