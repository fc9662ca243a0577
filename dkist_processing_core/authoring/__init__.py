"""
Turn what an author declares into plain data: names, the graph, constraints, and the frozen spec.

Runs in: author and CI.
"""
