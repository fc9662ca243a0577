"""
Text made from a spec: DAG files, scripts, notebooks, Dockerfiles and diagrams.

Runs in: author and CI. Renderers read the spec and know nothing of each other's callers. A value enters generated
text only through `repr`, `shlex.quote` or `json.dumps`, and generated Python is compiled before it is returned.
"""
