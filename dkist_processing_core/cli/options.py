"""
The arguments and options that several commands share.

Runs in: author and CI, worker.
"""

import click

__all__ = ["json_option", "package_argument", "workflow_argument"]

package_argument = click.argument("package", metavar="PACKAGE")
workflow_argument = click.argument("workflow", metavar="PACKAGE[:WORKFLOW]")
json_option = click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
