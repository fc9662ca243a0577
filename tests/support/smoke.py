"""Imports all modules of the library that is installed, and their public names; a part of an extra may be missing."""

import importlib
import pkgutil
import sys

import dkist_processing_core

# What can be imported only if an extra is installed, or another distribution that the documentation names.
OPTIONAL = set(sys.argv[1].split(","))


def missing(name):
    """Import a module and what it declares public; return what is missing for it."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        lacks = {part.name.partition(".")[0] for part in (error, error.__cause__) if getattr(part, "name", None)}
        if not lacks & OPTIONAL:
            raise
        return name
    for public in getattr(module, "__all__", ()):
        getattr(module, public)
    return None


skipped = ("__main__", "project.template", "runtime.spawned")
walked = pkgutil.walk_packages(dkist_processing_core.__path__, "dkist_processing_core.", onerror=lambda _: None)
names = [each.name for each in walked if not any(f".{part}" in each.name for part in skipped)]
lacking = [name for name in names if missing(name)]
print(len(names), len(lacking))
