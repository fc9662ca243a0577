"""
From what an author declares to plain data: names, the graph, constraints, and the frozen spec.

Runs in: author and CI.
"""
