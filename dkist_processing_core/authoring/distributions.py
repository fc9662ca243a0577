"""
The installed distribution that provides a package.

Runs in: author and CI. The name to install is not always the name to import, so it is looked up in the metadata of the
installed distributions (core metadata, ``RECORD`` of :pep:`376`, ``direct_url.json`` of :pep:`610`).
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["derived_name", "providing_distribution"]


def derived_name(package: str) -> str:
    """Return the distribution name that a package has by convention: its top level name, with ``-`` for ``_``."""
    return package.partition(".")[0].replace("_", "-")


@cache
def providing_distribution(package: str) -> str | None:
    """Return the name, as spelled in its metadata, of the installed distribution that provides a package, or None."""
    place = _place(package)
    if place is None:
        return None
    top_level = package.partition(".")[0]
    return next((each.name for each in _candidates(package) if _installs(each, place, top_level)), None)


def _candidates(package: str) -> Iterator[Distribution]:
    """Yield the installed distributions, the one with the conventional name first: usually no other one is read."""
    with suppress(PackageNotFoundError):
        yield distribution(derived_name(package))
    yield from distributions()


def _place(package: str) -> Path | None:
    """Return the file or folder that a dotted name is imported from."""
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        return None
    if found and found.origin and found.origin not in {"built-in", "frozen", "namespace"}:
        return Path(found.origin).resolve()
    folders = list(found.submodule_search_locations or ()) if found else []
    return Path(folders[0]).resolve() if folders else None


def _installs(candidate: Distribution, place: Path, top_level: str) -> bool:
    checkout = _editable_checkout(candidate)
    if checkout is not None and place.is_relative_to(checkout):
        # A repository may contain several projects; files below another project do not belong to this one.
        project = next((each for each in place.parents if (each / "pyproject.toml").is_file()), checkout)
        return project == checkout or not project.is_relative_to(checkout)
    record = candidate.read_text("RECORD")
    if record is not None and top_level not in record:  # to parse the files of hundreds of them takes a second
        return False
    for file in candidate.files or ():
        if file.name != place.name and place.suffix:
            continue
        located = Path(str(candidate.locate_file(file))).resolve()
        if located == place or (not place.suffix and located.is_relative_to(place)):
            return True
    return False


def _editable_checkout(candidate: Distribution) -> Path | None:
    """Return the folder that an editable installation points at (:pep:`610`)."""
    try:
        record = json.loads(candidate.read_text("direct_url.json") or "{}")
        if not record.get("dir_info", {}).get("editable"):
            return None
        return Path(unquote(urlsplit(record["url"]).path)).resolve()
    except (ValueError, KeyError, AttributeError):
        return None
