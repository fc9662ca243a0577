"""
Text made from a spec: DAG files, scripts, notebooks, Dockerfiles and diagrams.

Runs in: author and CI. A renderer reads the spec and does not use another renderer. A value enters generated text only
through `repr`, `shlex.quote` or `json.dumps`, and generated Python is compiled before it is returned.
"""
