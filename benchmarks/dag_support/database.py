"""Questions to the database of Airflow."""

from typing import Any

Cursor = Any  # psycopg2 has no types


def ask(database: Cursor, statement: str, *values: object) -> Any:
    """Return the one value that a statement selects."""
    database.execute(statement, values)
    [[value]] = database.fetchall()
    return value
