"""
Check the workflows of a package, and gather all faults and warnings in one report.

Runs in: author and CI. Airflow is used if it is installed, and never required.
"""
