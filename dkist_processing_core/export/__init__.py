"""
The files of an export: their contents, and which existing files they may replace.

Runs in: author and CI. Everything here works on specs and texts; it knows neither packages nor Airflow.
"""
