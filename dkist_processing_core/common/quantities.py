"""
Format times and sizes for people.

Runs in: author and CI, worker.
"""

__all__ = ["seconds", "size"]


def seconds(number: float) -> str:
    """Return a time in a form for people."""
    if number < 60:  # noqa: PLR2004 - a minute
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(number: float) -> str:
    """Return a number of bytes in at most four characters and a unit."""
    for unit in ("B", "K", "M", "G"):
        if number < 1000:  # noqa: PLR2004 - so that four characters are enough
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"  # noqa: PLR2004
        number /= 1024
    return f"{number:.1f} T"
