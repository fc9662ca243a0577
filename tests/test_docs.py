"""What the documentation says is so."""

import json
import re
import shutil
import textwrap

from support.command_line import run_command
from support.releases import REPOSITORY, new_environment, with_links

from dkist_processing_core import ResourceQueue
from dkist_processing_core.config import DKISTProcessingCoreConfiguration

README = (REPOSITORY / "README.rst").read_text()
VARIABLES = (REPOSITORY / "docs" / "reference" / "environment_variables.rst").read_text()
EXAMPLES = REPOSITORY / "docs" / "examples"
TUTORIAL = EXAMPLES / "dkist-processing-tutorial"
PACKAGE = REPOSITORY / "dkist_processing_core"


def test_the_code_in_the_readme_is_that_of_the_tutorial():
    """Each block is a file that a test of this module runs."""
    blocks = [
        textwrap.dedent(block).rstrip("\n")
        for block in re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    ]
    package = TUTORIAL / "dkist_processing_tutorial"
    files = [package / "tasks.py", package / "workflows" / "sunspots.py"]
    assert blocks == [file.read_text().rstrip("\n") for file in files]


def documented_variables():
    tables = VARIABLES.partition("\nWhat is part of the key of an environment\n")[0]
    cells = re.findall(r"^   \* - (``.*)$", tables, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"``([A-Z_0-9]+)``", cell)}


def variables_in_the_code():
    """Every variable that the code or the configuration reads."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        found |= set(re.findall(r"(?:environ\w*|variables)(?:\.get\(|\[)\s*\"([A-Z_0-9]+)\"", text))
        found |= set(re.findall(r"^\w+_VARIABLE = \"([A-Z_0-9]+)\"", text, re.MULTILINE))
        found |= set(re.findall(r"\"(OTEL_[A-Z_0-9]+|TRACE[A-Z]+|DKIST_APM_[A-Z_]+)\"", text))
        found |= set(re.findall(r"\"(DKIST_[A-Z_0-9]+)\"", text))
    for name, field in DKISTProcessingCoreConfiguration.model_fields.items():
        found.add(str(field.validation_alias or name).upper())
    return found


# Passed from one process of this library to the next, or set by the system, or Airflow's own.
INTERNAL = {
    "AIRFLOW_CONFIG",
    "AIRFLOW_HOME",
    "DKIST_ENVIRONMENT_IDENTITY",
    "DKIST_LOG_MARK",
    "DKIST_OUTCOME",
    "DKIST_WORKER_PYTHON",
    "HOME",
    "PATH",
    "PWD",
    "TERM",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
}
# Read by a pattern, by rich, by a unit of deploy/ or by the installer, so a search for names does not find them.
NOT_BY_NAME = {
    "CURL_CA_BUNDLE",
    "DKIST_QUEUES",
    "NO_COLOR",
    "NOMAD_ALLOC_ID",
    "NOMAD_ALLOC_NAME",
    "NOMAD_GROUP_NAME",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
}
for signal in ("TRACES", "METRICS"):
    own = f"OTEL_EXPORTER_OTLP_{signal}_"
    NOT_BY_NAME |= {f"OTEL_{signal}_EXPORTER", f"{own}ENDPOINT", f"{own}PROTOCOL", f"{own}TIMEOUT"}
NOT_BY_NAME |= {f"OTEL_EXPORTER_OTLP_{name}" for name in ("ENDPOINT", "PROTOCOL", "TIMEOUT")}


def test_every_variable_that_is_read_is_documented():
    """Each has a row in the reference; those of uv are named in the text below as well."""
    of_uv = set(re.findall(r"``(UV_[A-Z_]+)``", VARIABLES))
    assert variables_in_the_code() - INTERNAL - {"PIP_CONFIG_FILE"} <= documented_variables() | of_uv


def test_every_variable_of_the_readme_is_in_the_reference():
    """The README has the few that everybody sets."""
    rows = re.findall(r"^   \* - (``[A-Z_]+``.*)$", README, re.MULTILINE)
    found = {name for row in rows for name in re.findall(r"``([A-Z_]+)``", row)}
    assert found
    assert found <= documented_variables()


def test_every_variable_that_is_documented_is_read():
    """Each variable that has a row in the reference is read by the code."""
    documented = {name for name in documented_variables() if not name.startswith("PIP_")}
    assert documented - NOT_BY_NAME <= variables_in_the_code()


def test_every_queue_has_a_pool():
    """The file in the guide to deployment has the pool of each queue."""
    assert {queue.pool for queue in ResourceQueue} <= {
        *json.loads((REPOSITORY / "deploy" / "pools.json").read_text()),
        "default_pool",
    }


def test_the_package_of_the_readme_works(tmp_path, core_wheel):
    """The package of the README installs, its workflow exports and runs, and so does the script of its task."""
    tutorial = shutil.copytree(TUTORIAL, tmp_path / "tutorial")
    [wheel] = core_wheel.glob("*.whl")
    python = new_environment(tmp_path / "venv", f"dkist-processing-core[build] @ {wheel.as_uri()}", tutorial)

    def run(*command, **environment):
        done = run_command(*command, cwd=tmp_path, merge=True, **with_links(core_wheel), **environment)
        return done.check().stdout

    output = run(python, tutorial / "export_workflows.py", BUILD_VERSION="1.0.0")
    assert output.splitlines()[-1] == "dags/l0_to_activity_tutorial_1.0.0.py"
    workflows, program = "dkist_processing_tutorial.workflows", python.with_name("dkist-processing-core")
    run(program, "export", workflows, "--to", "exported", BUILD_VERSION="1.0.0")
    assert (tmp_path / "exported" / "l0_to_activity_tutorial_1.0.0.py").is_file()
    output = run(program, "run", workflows, "--recipe-run-id", "1", "--in-process")
    assert "relative sunspot number 39" in output
    (tmp_path / "script.sh").write_text(run(program, "show", workflows, "--node", "CountSunspots"))
    output = run("bash", "script.sh", DKIST_RECIPE_RUN_ID="1", DKIST_DEV_PROJECT=str(tutorial))
    assert "relative sunspot number 39" in output


def test_the_page_for_operators_has_every_exit_status():
    """Those of the reference, so that none leads nowhere at night."""
    documented = [
        re.findall(r"^   \* - (\d+)$", (REPOSITORY / "docs" / page).read_text(), re.MULTILINE)
        for page in ("how-to/operate.rst", "reference/worker.rst")
    ]
    assert documented[0] == [each for each in documented[1] if each != "0"]


def test_every_line_of_a_log_on_the_page_for_operators_is_one_of_the_program():
    """Whatever stands for a name or a reason is "..." there."""
    section = (REPOSITORY / "docs" / "how-to" / "operate.rst").read_text().partition("\nLines in a log\n")[2]
    table = section.partition("\nStop and start\n")[0]
    cells = re.findall(r"^   \* - (``.*?``)$", table, re.MULTILINE)
    quoted = [line for cell in cells for line in re.findall(r"``(.+?)``", cell)]
    texts = [" ".join(text_of(file).split()) for file in PACKAGE.rglob("*.py")]
    assert len(quoted) > 10
    unknown = [line for line in quoted if not any(re.search(r"[^\n]{0,60}?".join(parts(line)), text) for text in texts)]
    assert unknown == []


def text_of(file):
    """Return a module with the parts of each text put together, and what is inserted into it as one character."""
    joined = re.sub(r'"\s*\n\s*f?"', "", file.read_text())
    return re.sub(r"\{[^{}]*\}|%[sdr]|%g", "§", joined)


def parts(line):
    return [re.escape(each.strip()) for each in re.split(r"\.\.\.|\d+", line) if each.strip(" :")]
