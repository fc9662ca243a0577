"""Each command that a page shows exists, with its options: the programs' own parsers read it."""

import json
import re
import sys
import textwrap
from pathlib import Path

import click
import pytest
from support.command_line import run_command, run_python
from support.releases import REPOSITORY
from support.shown import SHELLS, blocks, literals, simple_commands

from dkist_processing_core.cli.root import root

PROGRAM = "dkist-processing-core"
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
# What is not of this project and has no parser here: who shows another one decides how it is checked.
OTHERS = {
    **dict.fromkeys(["systemctl", "journalctl", "useradd"], "needs a running systemd, or root"),
    **dict.fromkeys(["docker", "nomad"], "needs Docker or Nomad"),
    **dict.fromkeys(["rabbitmqctl", "dot", "papermill", "rsync"], "the program of somebody else, not installed here"),
    **dict.fromkeys(["pip", "uv", "twine", "build", "venv", "jupyter", "pytest"], "a tool of Python packaging"),
    **dict.fromkeys(["export", "unset", "cd", ".", "eval", "deactivate", "source"], "of the shell"),
    **dict.fromkeys(
        ["cat", "cp", "cut", "echo", "grep", "head", "install", "ls", "rm", "sed", "mkdir", "bash"], "of every system"
    ),
}
SHOWN = [(str(block), words) for block in blocks(*SHELLS) for words in simple_commands(block.script)]


def program_of(words):
    """Return the name of the program of a command, and its arguments; that of a module of Python is its own."""
    name, *arguments = words
    name = Path(name).name or name
    if re.fullmatch(r"python3?", name):
        while arguments and arguments[0] in {"-P", "-I"}:
            arguments = arguments[1:]
        if arguments[:1] == ["-m"]:
            name, *arguments = arguments[1:]
    return {"dkist_processing_core": PROGRAM}.get(name, name), arguments


def of(program):
    """Return the commands of a program in the blocks, and those that stand whole in the running text."""
    found = [(place, program_of(words)) for place, words in SHOWN]
    for place, text in literals():
        if text.startswith(f"{program} ") and "{" not in text:
            found += [(place, program_of(words)) for words in simple_commands(text)]
    return [(place, arguments) for place, (name, arguments) in found if name == program]


@pytest.fixture(autouse=True)
def any_file(monkeypatch):
    """Let every path on a command line be one, since the files of the pages are not here."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, parameter, context: value)


def parse(arguments, *, is_whole=True):
    """Let the real commands read a command line; nothing is run."""
    command, name, rest, parent = root, PROGRAM, arguments, None
    while True:
        try:
            context = command.make_context(name, list(rest), parent=parent)
        except click.exceptions.Exit:  # of --help and --version
            return
        except click.UsageError as error:
            lacks = isinstance(error, click.MissingParameter | click.exceptions.NoArgsIsHelpError)
            if is_whole or not (lacks or "requires an argument" in error.format_message()):
                raise
            return
        if not isinstance(command, click.Group):
            return
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parent = context


def ours():
    """Return each shown call of the program, and whether it must be complete, as in a block."""
    in_blocks = {place for place, _ in SHOWN}
    return [pytest.param(arguments, place in in_blocks, id=place) for place, arguments in of(PROGRAM) if arguments]


@pytest.mark.parametrize(("arguments", "is_whole"), ours())
def test_the_program_has_each_command_and_option_that_is_shown(arguments, is_whole):
    """Also the type of each value; what stands for a name may be any."""
    given = [re.sub(r"^N$", "1", each) for each in arguments]
    parse(given, is_whole=is_whole)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run PACKAGE --recipe-run-id 1 --resumee", "No such option"),
        ("run PACKAGE --recipe-run-id one", "not a valid integer"),
        ("runs shew NAME", "No such command"),
        ("environments prune --older-than soon", "is not an age"),
        ("run PACKAGE", "Missing option"),
    ],
)
def test_a_wrong_command_line_is_noticed(line, message):
    """An option, a value, a command, or one that is missing."""
    with pytest.raises(click.UsageError) as raised:
        parse(line.split())
    assert message.lower() in raised.value.format_message().lower()


def test_commands_in_the_running_text_without_the_name_of_the_program_exist():
    """Such as "environments prune --older-than 7d"; the first two words, and each option, are of a command."""
    unknown = []
    for place, text in literals():
        words = text.split()
        if len(words) < 2 or words[0] not in root.list_commands(None) or "..." in words:
            continue
        [command, *_] = simple_commands(text)
        try:
            parse([re.sub(r"^N$", "1", each) for each in command], is_whole=False)
        except click.UsageError as error:
            unknown.append(f"{place}: {text}: {error.format_message()}")
    assert unknown == []


def test_make_has_each_target_and_variable_that_is_shown():
    """In the Makefile of this project."""
    shown = of("make")
    assert len(shown) > 20
    for place, arguments in shown:
        for word in arguments:
            name, is_variable, _ = word.partition("=")
            known = (
                name in TARGETS
                if not is_variable
                else re.search(rf"\$[({{]{name}[)}}]|^{name} \?=", MAKEFILE, re.MULTILINE)
            )
            assert known, f"{place}: make {word}"


AIRFLOW = """
    import json, sys
    from airflow.cli import cli_parser
    parser = cli_parser.get_parser()
    wrong = []
    for place, arguments in json.load(sys.stdin):
        try:
            parser.parse_args(arguments)
        except SystemExit as ended:
            if ended.code:
                wrong.append(f"{place}: airflow {' '.join(arguments)}")
    print(json.dumps(wrong))
"""


def airflow_refuses(shown, home):
    """Return those command lines that Airflow's own parser refuses."""
    settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor"}
    variables = {"PATH": str(Path(sys.executable).parent), "HOME": str(home), **settings}
    done = run_python(AIRFLOW, text=json.dumps(shown), env=variables).check()
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.airflow
def test_airflow_has_each_command_and_option_that_is_shown(tmp_path):
    """Where only a command is named, its arguments may be missing; a wrong option is noticed."""
    in_blocks = {place for place, _ in SHOWN}
    needed = {("dags", "unpause"): ["DAG"], ("tasks", "clear"): ["DAG"], ("pools", "import"): ["FILE"]}
    shown = [
        (place, arguments + ([] if place in in_blocks else needed.get(tuple(arguments), [])))
        for place, arguments in of("airflow")
    ]
    assert len(shown) > 10
    assert airflow_refuses(shown, tmp_path) == []
    wrong = [("here", ["dags", "list", "--no-such-option"]), ("there", ["dags", "lost"])]
    assert len(airflow_refuses(wrong, tmp_path)) == len(wrong)


def test_every_program_that_is_shown_is_known():
    """It is checked above, or it is named with the reason why it is not."""
    checked = {PROGRAM, "make", "airflow", "dkist_processing_core.runtime", "dkist_processing_core.worker"}
    assert {program_of(words)[0] for _, words in SHOWN} - checked - OTHERS.keys() == set()


@pytest.mark.parametrize("block", [pytest.param(each, id=str(each)) for each in blocks(*SHELLS)])
def test_a_shell_reads_each_block(block):
    """Without an error of syntax; nothing is run."""
    run_command("bash", "-n", text=block.script).check(stderr="")
    assert block.script.strip()


@pytest.mark.parametrize("block", [pytest.param(each, id=str(each)) for each in blocks("python")])
def test_each_block_of_python_compiles(block):
    """One with ":caption:" is a part of a file, perhaps without its beginning (`test_tutorial`)."""
    text = textwrap.dedent(block.text)
    if ":caption:" in block.options:
        text = f"def excerpt():\n{textwrap.indent(text, '    ')}"
        text = re.sub(r":\s*$", ": ...\n", text)
    compile(text, str(block), "exec")


@pytest.mark.parametrize("block", [pytest.param(each, id=str(each)) for each in blocks("json")])
def test_each_block_of_json_is_json(block):
    """A block of several documents has none here."""
    json.loads(re.sub(r",?\s*\.\.\.", "", block.text))
