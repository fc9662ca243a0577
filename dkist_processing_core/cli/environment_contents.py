"""
``dkist-processing-core environments show``, ``compare``, ``verify`` and ``lock``: the contents of environments.

Runs in: worker.
"""

import json
from pathlib import Path
from typing import Any

import click

from dkist_processing_core.cli.environment_names import by_name, folder_option, label
from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.tables import named, progress, say, table
from dkist_processing_core.common.atomic import write_text
from dkist_processing_core.common.environment import SCHEMA_VERSION, is_consistent, read_description, short
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.exceptions import EnvironmentDescriptionError
from dkist_processing_core.worker import collector

__all__ = ["compare", "lock", "show", "verify"]

SHOWN_FINDINGS = 50
KEYS = {
    *("requirement", "built", "seconds", "interpreter", "platform", "installer", "index", "constraints"),
    "distributions",
}


@click.command(short_help="Show what an environment contains.")
@click.argument("name")
@folder_option
@json_option
def show(name: str, folder: Path | None, is_json: bool) -> None:
    """
    Show what an environment contains, as it was built.

    NAME is the name of an environment, or its beginning, or the path of an environment.json.
    """
    _, description = _described(name, folder)
    if is_json:
        click.echo(json.dumps(description, indent=2))
        return
    python, installer = description["interpreter"], description["installer"]
    how = f"in {description['seconds']:.1f} s by {installer['name']} {installer['version']}"
    facts = {
        "identity": description["identity"],
        "requirement": description["requirement"],
        "built": f"{description['built']}, {how}",
        "Python": f"{python['implementation']} {python['build']}",
        "executable": python["executable"],
        "platform": description["platform"],
        **description["index"],
    }
    lines = [*facts.items(), *(("constraint", each) for each in description["constraints"])]
    width = max(len(fact) for fact, _ in lines)
    for fact, value in lines:
        click.echo(f"{fact:<{width}}  {value}")
    click.echo()
    rows = [(each["name"], each["version"], _origin(each["origin"])) for each in description["distributions"]]
    table(("distribution", "version", "origin"), rows)


@click.command(short_help="Write a lock file from which an environment can be rebuilt.")
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default="pylock.toml",
    help="The file to write, pylock.toml by default; - for standard output.",
)
@folder_option
def lock(name: str, output: Path, folder: Path | None) -> None:
    """
    Write a lock file from which exactly this environment can be rebuilt.

    NAME is the name of an environment, or its beginning. The file has the URL and the hash of each wheel (PEP 751).
    Before it is written, the environment is built from it once and compared. Give it to a workflow as constraints.
    """
    from dkist_processing_core.worker.locking import lock_file

    target = output.resolve()
    if not target.parent.is_dir() or (target.exists() and not target.is_file()):  # before the lock, which is slow
        raise click.BadParameter(f"{output} must be a file in a folder that exists.", param_hint="--output")
    environment = by_name(name, collector.environments(folder), folder)
    _, description = _described(environment.name, folder)
    with progress(f"Locking {label(environment)}"):
        text = lock_file(environment.path, description)
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    write_text(target, text)
    click.echo(f"wrote: {output}, {len(description['distributions'])} distributions")


@click.command(short_help="Show what differs between two environments.")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@folder_option
@click.pass_context
def compare(context: click.Context, first: str, second: str, folder: Path | None) -> None:
    """
    Show what differs between two environments.

    A and B are each the name of an environment, or its beginning, or the path of an environment.json, which may come
    from another machine. The exit status is 1 if their code differs.
    """
    from dkist_processing_core.worker.comparison import differences

    (its, one), (others, other) = (_described(each, folder) for each in (first, second))
    click.echo(f"A: {its}, identity {short(one['identity'])}\nB: {others}, identity {short(other['identity'])}")
    for key in ("interpreter", "platform"):
        shown = [each["build"] if isinstance(each := description[key], dict) else each for description in (one, other)]
        if shown[0] != shown[1]:
            click.echo(f"not part of the identity: {key} {shown[0]} in A, {shown[1]} in B")
    found = differences(one, other)
    if not found:
        click.echo("equal: the same files of the same distributions")
        return
    rows = [
        (each.name or "modules outside any distribution", each.first, each.second, _judged(each.first, each.second))
        for each in found
    ]
    table(("distribution", "A", "B", "difference"), rows)
    context.exit(1)


def _judged(first: str, second: str) -> str:
    if first == second:
        return "files differ"
    return "versions differ" if first and second else f"only in {'A' if first else 'B'}"


@click.command(short_help="Check that the files of environments are unchanged since installation.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "is_all", is_flag=True, help="Verify all environments.")
@folder_option
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...], is_all: bool, folder: Path | None) -> None:
    """
    Check that all files of environments are unchanged since installation.

    Each file is read. Files that were changed, removed or added are listed, and the exit status is then 1.
    The beginning of a name is enough if no other name begins with it.
    """
    if bool(names) == is_all:
        raise click.UsageError("give the names of environments, or --all.")
    known = collector.environments(folder)
    chosen = {each.path: each for each in (known if is_all else (by_name(name, known, folder) for name in names))}
    if not chosen:
        click.echo(f"There are no environments in {named(folder or cache_folder())}.")
    results = [_verify(each, f"{number} of {len(chosen)}") for number, each in enumerate(chosen.values(), 1)]
    context.exit(0 if all(results) else 1)


def _verify(environment: collector.Environment, position: str) -> bool:
    """Verify an environment and print the result; return whether it is unchanged since installation."""
    from dkist_processing_core.worker.verification import verify as verify_environment

    name = label(environment)
    with progress(f"Verifying {name} ({position})"):
        findings = verify_environment(environment.path)
    if findings is None:
        click.echo(f"unfinished, not verified: {name}", err=True)
        return True
    if read_description(environment.path).get("schema_version") != SCHEMA_VERSION:
        say(
            f"Warning: {name} has no environment.json that this release can read; an earlier version of this library "
            "may have built it. Its distributions were compared with their own RECORD files only.",
            err=True,
        )
    click.echo(f"{'as installed' if not findings else 'NOT as installed'}: {name}")
    for each in findings[:SHOWN_FINDINGS]:
        click.echo(f"  {each.what:<8} {each.name}")
    if len(findings) > SHOWN_FINDINGS:
        click.echo(f"  and {len(findings) - SHOWN_FINDINGS} more")
    return not findings


def _described(text: str, folder: Path | None) -> tuple[str, dict[str, Any]]:
    """Return the label of an environment, or the path of its description, and the description."""
    if Path(text).is_file():
        return text, _checked(text, _read(Path(text)))
    environment = by_name(text, collector.environments(folder), folder)
    if not environment.is_ready:
        raise EnvironmentDescriptionError(
            f"the environment {environment.name} is not complete", remedy="Wait until it is built, or remove it"
        )
    if not (description := read_description(environment.path)):
        raise EnvironmentDescriptionError(
            f"the environment {environment.name} has no environment.json, since an earlier version of this library "
            "built it; tasks can use it as before",
            remedy="Remove it, and the next task builds it again, with that file",
        )
    return label(environment), _checked(environment.name, description)


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise EnvironmentDescriptionError(f"{path} is not JSON: {error}", remedy="Name an environment.json") from error


def _checked(name: str, description: object) -> dict[str, Any]:
    """Return a description if this release supports its schema and its identity matches its content."""
    if not isinstance(description, dict) or "schema_version" not in description:
        raise EnvironmentDescriptionError(f"{name} does not describe an environment", remedy="Name an environment.json")
    if (version := description["schema_version"]) != SCHEMA_VERSION:
        raise EnvironmentDescriptionError(
            f"{name} has schema_version {version!r}, but this release supports {SCHEMA_VERSION}",
            remedy="Use the release of dkist-processing-core whose worker built the environment",
        )
    if not (is_consistent(description) and description.keys() >= KEYS):
        raise EnvironmentDescriptionError(
            f"{name} was changed: its identity {description.get('identity')} does not match its content, or keys are "
            "missing",
            remedy="Copy the file from its environment again, or remove that environment",
        )
    return description


def _origin(origin: dict[str, Any] | None) -> str:
    if not origin:
        return "package index"
    if checkout := origin.get("checkout"):
        state = {None: "no git", True: "dirty", False: "clean"}[checkout["dirty"]]
        return f"{checkout['path']} {(checkout['commit'] or '')[:12]} ({state})"
    return str(origin.get("url") or origin["direct_url"]["url"])
