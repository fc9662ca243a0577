"""The version of this distribution, stated here and nowhere else (the build reads it from this file)."""

__version__ = "8.0.0"
