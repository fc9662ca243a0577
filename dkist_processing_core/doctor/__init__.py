"""
Check how a worker, a DAG processor or a CI machine is set up: one line per check, each with its remedy.

Runs in: worker, the machine of the DAG processor, CI. No check makes a lasting change, and none shows a secret.
"""
