"""
The installed distribution that provides a package.

Runs in: author and CI. The name to install is not always the name to import, so it is looked up in the metadata of the
installed distributions (core metadata, ``RECORD`` of :pep:`376`, ``direct_url.json`` of :pep:`610`).
"""

import json
from functools import cache
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["derived_name", "providing_distribution"]


def derived_name(package: str) -> str:
    """Return the distribution name that a package has by convention: its top level name, with ``-`` for ``_``."""
    return package.partition(".")[0].replace("_", "-")


@cache
def providing_distribution(package: str) -> str | None:
    """Return the name of the installed distribution that provides a package, as it spells it; None if there is none."""
    place = _place(package)
    if place is None:
        return None
    # Those whose names agree come first, so that the common case reads one RECORD instead of all.
    candidates = sorted(distributions(), key=lambda each: not _has_derived_name(each, package))
    return next((each.name for each in candidates if _installs(each, place)), None)


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


def _has_derived_name(distribution: Distribution, package: str) -> bool:
    return str(distribution.metadata["Name"]).lower().replace("_", "-") == derived_name(package).lower()


def _installs(distribution: Distribution, place: Path) -> bool:
    checkout = _editable_checkout(distribution)
    if checkout is not None and place.is_relative_to(checkout):
        # A repository may contain several projects; files below another project do not belong to this one.
        project = next((each for each in place.parents if (each / "pyproject.toml").is_file()), checkout)
        return project == checkout or not project.is_relative_to(checkout)
    for file in distribution.files or ():
        if file.name != place.name and place.suffix:
            continue
        located = Path(str(distribution.locate_file(file))).resolve()
        if located == place or (not place.suffix and located.is_relative_to(place)):
            return True
    return False


def _editable_checkout(distribution: Distribution) -> Path | None:
    """Return the folder that an editable installation points at (:pep:`610`)."""
    try:
        record = json.loads(distribution.read_text("direct_url.json") or "{}")
        if not record.get("dir_info", {}).get("editable"):
            return None
        return Path(url2pathname(urlsplit(record["url"]).path)).resolve()
    except (ValueError, KeyError, AttributeError):
        return None
