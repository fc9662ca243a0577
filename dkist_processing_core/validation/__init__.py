"""
Everything that can be wrong with the workflows of a package, gathered into one report.

Runs in: author and CI. Airflow is used where it is installed, and never required.
"""
