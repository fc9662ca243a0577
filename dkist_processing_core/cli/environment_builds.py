"""
``dkist-processing-core environments build``: prepare environments before a task needs them.

Runs in: worker.
"""

import os
import tempfile
from pathlib import Path

import click

from dkist_processing_core.cli.environment_names import folder_option
from dkist_processing_core.cli.tables import progress, say
from dkist_processing_core.common.environment import short
from dkist_processing_core.common.quantities import seconds
from dkist_processing_core.worker.builds import Built, build_all
from dkist_processing_core.worker.needed import Needed, needed_by_dag_files, needed_by_manifest
from dkist_processing_core.worker.request import REQUIREMENT

__all__ = ["build"]


@click.command(short_help="Build environments before a task needs them.")
@click.argument("requirements", nargs=-1, metavar="[REQUIREMENT]...")
@click.option(
    "--manifest",
    "manifests",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Build what the exported files of this manifest.json need.",
)
@click.option(
    "--dags",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Build what the exported files in this folder need.",
)
@click.option(
    "--constraints",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The constraints file or pylock.toml of the workflow, for each REQUIREMENT.",
)
@click.option(
    "--requires-python",
    default="",
    metavar="SPECIFIER",
    help="The Python that the workflow requires, such as '>=3.12', for each REQUIREMENT.",
)
@click.option(
    "--parallel", type=click.IntRange(min=1), metavar="N", help="Build N at once; by default one per processor."
)
@folder_option
@click.pass_context
def build(  # noqa: PLR0913, PLR0917 - the options of a command
    context: click.Context,
    requirements: tuple[str, ...],
    manifests: tuple[Path, ...],
    folders: tuple[Path, ...],
    constraints: Path | None,
    requires_python: str,
    parallel: int | None,
    folder: Path | None,
) -> None:
    """
    Build environments before a task needs them.

    REQUIREMENT is a release with its extras, such as dkist-processing-cam[frozen]==1.1.0. Run this as the user, and
    with the variables, of the worker. An environment that already exists is left as it is, and one that a task is
    building is waited for. The exit status is 1 if one cannot be built.
    """
    from dkist_processing_core.authoring.constraints import read_constraints

    text = read_constraints(constraints, workflow=", ".join(requirements))
    needed = {
        **dict.fromkeys(_needed(each, text, requires_python) for each in requirements),
        **dict.fromkeys(each for manifest in manifests for each in needed_by_manifest(manifest)),
        **dict.fromkeys(each for dags in folders for each in needed_by_dag_files(dags)),
    }
    if not (requirements or manifests or folders):
        raise click.UsageError("give releases, --manifest or --dags.")
    if not needed:
        named = ", ".join(map(str, (*manifests, *folders)))
        say(f"Warning: nothing in {named} was exported by this library.", err=True)
    variables = {**os.environ, **({"DKIST_ENVIRONMENT_CACHE": str(folder.absolute())} if folder else {})}
    failed = 0
    with progress(f"Building {len(needed)} environments"):
        for done in build_all(list(needed), variables, parallel=parallel or os.cpu_count() or 1):
            failed += not done.outcome.is_success
            _show(done)
    say(f"{len(needed)} environments, {failed} failed")
    context.exit(1 if failed else 0)


def _needed(text: str, constraints: str, requires_python: str) -> Needed:
    from dkist_processing_core.common.lock_file import for_release

    if not (match := REQUIREMENT.fullmatch(text)):
        raise click.BadParameter(
            f"{text!r} is not a release with its extras, such as dkist-processing-cam[frozen]==1.1.0."
        )
    return Needed(text, for_release(constraints, match[1], match[3]), requires_python)


def _show(done: Built) -> None:
    requirement, outcome = done.needed.requirement, done.outcome
    if outcome.is_success:
        identity = f", identity {short(outcome.environment_identity)}" if outcome.environment_identity else ""
        click.echo(f"{outcome.summary}: {requirement}, {seconds(done.seconds)}{identity}")
    else:
        with tempfile.NamedTemporaryFile(prefix="dkist-build-", suffix=".log", delete=False) as log:
            log.write(done.log)
        click.echo(f"failed: {requirement}: {outcome.summary} Log: {log.name}")
