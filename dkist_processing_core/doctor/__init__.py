"""
Whether a worker, a DAG processor or a CI machine is set up as it must be: one line a check, each with its remedy.

Runs in: worker, the machine of the DAG processor, CI. No check changes anything that lasts, and none shows a secret.
"""
