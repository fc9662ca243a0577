"""
Create and change the source tree of a package.

Runs in: author and CI.
"""
