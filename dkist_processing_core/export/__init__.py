"""
The files of an export: what they are, and which of those that exist may be replaced.

Runs in: author and CI. Everything here works on specs and texts; it knows neither packages nor Airflow.
"""
