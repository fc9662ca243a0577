"""
What every interpreter shares: small helpers of the standard library alone.

Runs in: all four interpreters. A rule that several places follow is written here once and imported by them.
"""
