"""
Create and change the source tree of an author.

Runs in: author and CI.
"""
