"""The command line as a whole: help, names of packages, what is written where, and with which exit status."""

import json
import os
import sys

import pytest
from support.command_line import PROGRAM, run_command, run_on_terminal, run_program, run_python
from support.sources import flow, write_sources

from dkist_processing_core import __version__

click = pytest.importorskip("click", reason="click is not installed (pip install 'dkist-processing-core[build]')")
from click.testing import CliRunner  # noqa: E402 - not there without click

from dkist_processing_core.cli.root import root  # noqa: E402 - likewise

HEAVY = [
    "airflow",
    "elasticapm",
    "jinja2",
    "nbconvert",
    "nbformat",
    "numpy",
    "opentelemetry",
    "pika",
    "pydantic",
    "rich",
]


def commands(group=root, words=()):
    """Return the words of every command."""
    found = [words]
    for name, each in sorted(getattr(group, "commands", {}).items()):
        found += commands(each, (*words, name))
    return found


COMMANDS = [pytest.param(words, id="-".join(words) or "root") for words in commands()]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_explains_itself(words):
    """In at most 80 columns, without a word that is cut off, with a line for each option, and without colours."""
    done = CliRunner().invoke(root, [*words, "--help"], prog_name="dkist-processing-core", terminal_width=80)
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: {' '.join(['dkist-processing-core', *words])} ")
    assert max(map(len, done.output.splitlines())) <= 80
    assert "..." not in done.output.partition("\n\n")[2].replace("NAME...", "").replace("]...", "")
    assert "\x1b" not in done.output
    assert "\\b" not in done.output
    command = root
    for word in words:
        command = command.get_command(None, word)
    assert command.help
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []


@pytest.mark.parametrize("words", COMMANDS)
def test_help_imports_nothing_heavy(words):
    """In a fresh interpreter none of the heavy packages is loaded."""
    program = f"""
        import sys
        from dkist_processing_core.cli import main
        sys.argv = ["dkist-processing-core", *{words!r}, "--help"]
        try:
            main()
        finally:
            print([name for name in {HEAVY!r} if name in sys.modules])
    """
    done = run_python(program)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


@pytest.mark.parametrize(
    "program", [(PROGRAM,), (sys.executable, "-m", "dkist_processing_core")], ids=["program", "module"]
)
def test_both_spellings_are_the_same_program(program, camera):
    """With the same name in its usage, the same output and the same exit status."""
    assert run_program("--version", program=program) == (0, f"dkist-processing-core, version {__version__}\n", "")
    status, output, error = run_program("list", camera, program=program)
    assert (status, len(output.splitlines()), error) == (0, 3, "")
    status, _, error = run_program("list", program=program)
    assert (status, error.splitlines()[0]) == (2, "Usage: dkist-processing-core list [OPTIONS] PACKAGE")


def test_a_command_that_is_none_is_an_error_of_usage(command):
    """Exit status 2, with the name."""
    command("validte").check("No such command 'validte'", status=2, stdout="")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera_of_a_test/workflows", "such as 'camera_of_a_test.workflows'"),
        ("camera_of_a_test/workflows/", "such as 'camera_of_a_test.workflows'"),
        ("./camera_of_a_test/workflows/level1.py", "such as 'camera_of_a_test.workflows.level1'"),
        ("camera_of_a_test/workflows/__init__.py", "such as 'camera_of_a_test.workflows'"),
        ("other-camera/workflows", "such as 'other_camera.workflows'"),
        ("/", "such as 'dkist_processing_example.workflows'"),
        ("", "such as 'dkist_processing_example.workflows'"),
        ("camera_of_a_test.workflows:level1", "such as 'camera_of_a_test.workflows'"),
        ("camera_of_a_test.workflow", "there is no 'workflow' in camera_of_a_test (did you mean 'workflows'?)"),
        ("camera_of_a_tset.workflows", "there is no 'camera_of_a_tset' in the folder "),
        ("camera_of_a_tset.workflows", "(did you mean 'camera_of_a_test'?)"),
        ("camera_of_a_test.tasks.dark", "there is no 'dark' in camera_of_a_test.tasks"),
    ],
)
@pytest.mark.parametrize("verb", ["list", "validate", "export", "notebooks", "dockerfile"])
def test_a_package_that_is_not_there_is_an_error_of_usage(command, camera, tmp_path, verb, text, expected):
    """Exit status 2, with what was probably meant, and nothing is written."""
    before = sorted(tmp_path.iterdir())
    error = command(verb, text).check(expected, status=2, stdout="").stderr
    assert error.startswith(f"Usage: dkist-processing-core {verb} ")
    assert sorted(tmp_path.iterdir()) == before


def test_a_path_from_elsewhere_gives_the_name_from_its_top(command, tmp_path):
    """A folder above the package, such as src, is no part of the name."""
    write_sources(tmp_path / "src", {"workflows/__init__.py": ""}, name="camera_of_a_test")
    _, _, error = command("list", "src/camera_of_a_test/workflows")
    assert "such as 'camera_of_a_test.workflows'" in error
    _, _, error = command("list", str(tmp_path / "src/camera_of_a_test/workflows"))
    assert "such as 'camera_of_a_test.workflows'" in error


def test_what_is_installed_wins_over_the_working_folder(tmp_path, camera):
    """Nothing that lies about there takes the place of a module that something else needs."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    (tmp_path / "click").mkdir()
    (tmp_path / "click" / "__init__.py").write_text("raise SystemExit('the wrong click')\n")
    output = run_program("list", camera, "--json").check(stderr="").stdout
    assert len(json.loads(output)) == 2


BROKEN = {
    "attribute": ("x = 1\nx.nonsense\n", "AttributeError: 'int' object has no attribute 'nonsense', line 2 of "),
    "name": ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module', line 1 of "),
    "syntax": ("x = (\n", "SyntaxError: '(' was never closed, line 1 of "),
    "exit": ("raise SystemExit(3)\n", "SystemExit: 3, line 1 of "),
    "of-the-library": (
        "import dkist_processing_core as c\nc.Workflow(input_data='a b', output_data='c', workflow_package='d.e')\n",
        "NamingSchemeError: ",
    ),
    "of-another-package": ("import packaging.version\npackaging.version.Version('x')\n", "InvalidVersion: "),
    "of-python": ("import json\njson.loads('{')\n", "JSONDecodeError: Expecting property name"),
    "silent": ("raise ValueError\n", "ValueError"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("verb", ["list", "validate", "export", "notebooks", "dockerfile", "show", "graph"])
def test_a_package_that_does_not_import_is_blamed_on_its_own_line(command, tmp_path, verb, name):
    """Exit status 1 without a traceback; the place is in their code, never in ours or in Python's."""
    text, expected = BROKEN[name]
    write_sources(tmp_path, {"__init__.py": text}, name="broken_of_a_test")
    _, output, error = command(verb, "broken_of_a_test").check(status=1)
    said = output + error
    assert f"it does not import: {expected}" in said
    [place] = [line for line in said.splitlines() if "it does not import" in line]
    assert f" of {tmp_path}/broken_of_a_test/__init__.py: {text.splitlines()[-1]}" in place
    assert "Traceback" not in said
    assert "python -c 'import broken_of_a_test'" in said
    assert not (tmp_path / "dags").exists()


def test_what_a_package_prints_spoils_no_output(command, tmp_path):
    """Its words go to the standard error stream."""
    noise = "print('hello from the package')\n"
    files = {"__init__.py": noise, "workflows/__init__.py": noise, "workflows/one.py": noise + flow()}
    write_sources(tmp_path, files, name="noisy_of_a_test")
    for words in (("list", "--json"), ("validate", "--json"), ("show", "--json"), ("export", "--json")):
        verb, *options = words
        _, output, error = command(verb, "noisy_of_a_test.workflows", *options).check()
        json.loads(output)
        assert verb != "list" or error.count("hello") == 3


def test_an_error_of_the_system_is_one_line(command, camera, tmp_path):
    """With the file as the person named it, and exit status 1."""
    (tmp_path / "file").write_text("")
    status, _, error = command("graph", camera, "--output", "missing/graph.txt")
    assert (status, error) == (1, "Error: [Errno 2] No such file or directory: 'missing/graph.txt'\n")
    error = command("export", camera, "--to", "file/dags").check(status=1).stderr
    assert error.splitlines()[-1] == "Error: [Errno 20] Not a directory: 'file/dags'"


def test_a_terminal_has_colours_and_whole_words(camera):
    """Lines end between words at its right edge; a file gets neither colours nor line breaks."""
    status, written = run_on_terminal("list", f"{camera}", columns=60)
    assert status == 0
    assert max(map(len, written.splitlines())) <= 60
    assert "".join(written.split()).count("camera_of_a_test.workflows.level1:level1") == 1
    status, written = run_on_terminal("validate", "nothing_of_a_test")
    assert status == 2
    assert "\x1b" not in run_program("validate", camera, "--json")[1]


def test_a_pipe_gets_each_line_complete(tmp_path):
    """However long it is, without spaces at its end, and without the progress that a terminal shows."""
    write_sources(tmp_path, {f"{'deep' * 20}.py": flow("d" * 80)}, name="p" * 200)
    output = run_program("list", "p" * 200, COLUMNS="40", FORCE_COLOR="1").check(stderr="").stdout
    header, row = output.splitlines()
    assert header.split() == ["workflow", "version", "tasks", "where"]
    assert row.split() == [f"a_to_b_cam_{'d' * 80}", "1.0", "2", f"{'p' * 200}.{'deep' * 20}:workflow"]
    assert output == "".join(f"{line.rstrip()}\n" for line in output.splitlines())


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_library_is_an_error_that_says_what_to_install(missing):
    """Exit status 1, with the command to type."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from dkist_processing_core.cli import main; sys.exit(main())"
    )
    status, output, error = run_python(program)
    assert (status, output) == (1, "")
    assert "The command line needs the extra 'build'" in error
    assert "pip install 'dkist-processing-core[build]'" in error


def test_bash_completes_commands_options_and_choices():
    """With the words of the documentation in a real bash."""
    script = """
        eval "$(_DKIST_PROCESSING_CORE_COMPLETE=bash_source dkist-processing-core)"
        complete_words() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _dkist_processing_core_completion dkist-processing-core "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[@]}"
        }
        complete_words dkist-processing-core val
        complete_words dkist-processing-core export --over
        complete_words dkist-processing-core graph --format m
    """
    done = run_command("bash", "-c", script, PATH=f"{PROGRAM.parent}:{os.environ['PATH']}")
    assert done.stdout.split() == ["validate", "--overwrite", "mermaid"], done.stderr


def test_a_reader_that_goes_away_is_no_error_of_ours(camera):
    """As head does; nothing is said about it."""
    done = run_command("bash", "-c", f"set -o pipefail; {PROGRAM} graph {camera}:level1 --format dot | true")
    assert done.stderr == ""
