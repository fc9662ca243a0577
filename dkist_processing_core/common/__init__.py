"""
Helpers that every interpreter shares, with the standard library alone.

Runs in: all four interpreters. A rule that several modules follow is written here once and imported by them.
"""
