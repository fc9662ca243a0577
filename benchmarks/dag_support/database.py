"""Queries to Airflow's database."""

from typing import Any

Cursor = Any  # psycopg2 has no type annotations


def ask(database: Cursor, statement: str, *values: object) -> Any:
    """Return the single value that a statement selects."""
    database.execute(statement, values)
    [[value]] = database.fetchall()
    return value
