"""The Dockerfile of a manual processing worker."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest
from support.command_line import run_command, start_command
from support.declared_workflows import new_workflow
from support.dockerfile_replay import Replay, instructions
from support.hadolint import lint
from support.ports import free_ports
from support.releases import REPOSITORY, make_index, new_environment, with_links
from support.sources import flow, imported_sources
from support.tasks import First, Second
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.build_utils import export_notebook_dockerfile
from dkist_processing_core.exceptions import ChangedFileError, WorkflowError, WorkflowValidationError
from dkist_processing_core.rendering.dockerfile import dockerfile

pytestmark = [pytest.mark.once, pytest.mark.timeout(1200), pytest.mark.usefixtures("without_airflow")]

INSTRUMENT = REPOSITORY / "examples" / "instrument"
TOKEN = "only-for-this-test"


def spec(**constraints):
    workflow = new_workflow()
    workflow.add_node(First, pip_extras=["quality"])
    workflow.add_node(Second, upstreams=First, pip_extras=["asdf"])
    nodes = tuple(replace(node, constraints=constraints.get(node.name, "")) for node in workflow.spec.nodes)
    return replace(workflow.spec, nodes=nodes)


def rendered(*specs, notebooks=("notebooks/b.ipynb", "notebooks/a.ipynb")):
    return dockerfile(specs or (spec(),), category="cam", notebooks=notebooks)


def step(text, name, part=""):
    """Return the arguments of the one instruction of a name that has a part."""
    [found] = [arguments for each, arguments in instructions(text) if each == name and part in arguments]
    return found


def test_the_release_is_pinned_with_the_extras_of_all_tasks():
    """Since all notebooks share its environment; frozen comes first."""
    assert " 'support[frozen,asdf,quality]==1.0' " in step(rendered(), "RUN", "/opt/worker")


def test_the_other_requirements_of_a_notebook_are_those_of_the_extra():
    """They are listed one by one, since pip would search all releases of this library for one with the extra."""
    extra = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]["build"]
    needed = {each for each in extra if not each.startswith(("jinja2", "tomlkit", "uv"))}  # for freeze and new
    words = shlex.split(step(rendered(), "RUN", "/opt/worker"))
    assert {*needed, "ipykernel>=6.29,<8"} == {word for word in words if ">=" in word}


def test_steps_that_do_not_depend_on_the_release_come_first():
    """A new release reuses the layers of the user and of JupyterLab."""
    text = rendered()
    first, second = text.index("'jupyterlab>="), text.index("1.0", text.index("FROM"))
    assert text.index("useradd") < first < second < text.index("COPY")


def test_it_does_not_run_as_root():
    """The user is a number, which an orchestrator can check, and is set just before the start."""
    names = [name for name, _ in instructions(rendered())]
    assert step(rendered(), "USER") == "1000:1000"
    assert names[names.index("USER") + 1 :] == ["WORKDIR", "EXPOSE", "HEALTHCHECK", "CMD"]


def test_the_base_url_is_that_of_the_category():
    """The same as in the published line, on which the deployment relies."""
    text = rendered()
    assert "--ServerApp.base_url=/mpw-cam/" in json.loads(step(text, "CMD"))
    assert "'GET', '/mpw-cam/api'" in step(text, "HEALTHCHECK")


def test_tasks_can_tell_that_they_run_in_a_notebook():
    """By the variable that the configuration reads."""
    assert "IS_NOTEBOOK_EXECUTION_ENVIRONMENT=true" in step(rendered(), "ENV")


def test_no_layer_can_hold_a_secret():
    """pip's settings are a mount of the steps that install; there is no argument for them, and none is set."""
    text = rendered()
    assert [arguments for name, arguments in instructions(text) if name == "ARG"] == ["BASE_IMAGE=python:3.13-slim"]
    assert [
        "--mount=type=secret,id=pip.conf,target=/etc/pip.conf" in arguments
        for name, arguments in instructions(text)
        if name == "RUN" and "pip install" in arguments
    ] == [True, True]
    assert not re.search(r"INDEX_URL|PASSWORD|https:", text)


def test_the_labels_say_what_it_is():
    """With the keys of the OCI."""
    assert step(rendered(), "LABEL").split(" org.") == [
        'org.opencontainers.image.title="support"',
        'opencontainers.image.version="1.0"',
        'opencontainers.image.description="Manual processing worker of cam"',
    ]


def test_the_notebooks_are_copied_by_name():
    """What else is in their folder stays out."""
    assert step(rendered(), "COPY").split() == [
        "--chown=worker:worker",
        "notebooks/a.ipynb",
        "notebooks/b.ipynb",
        "/notebooks/",
    ]


def test_constraints_hold_for_the_worker_as_well():
    """Those of all nodes together, each once, quoted for the shell."""
    text = rendered(spec(First="a==1\nb==2; python_version<'4'", Second="a==1"))
    lines = (
        run_command("/bin/sh", "-c", step(text, "RUN", "printf").replace("> /opt/constraints.txt", "")).check().stdout
    )
    assert lines == "a==1\nb==2; python_version<'4'\n"
    assert "pip install --disable-pip-version-check --constraint=/opt/constraints.txt " in step(
        text, "RUN", "/opt/worker/bin/python"
    )
    assert "constraint" not in rendered()


def test_the_same_workflows_give_the_same_bytes():
    """Whatever the order of workflows and notebooks."""
    other = replace(spec(), name="other", nodes=spec().nodes[::-1])
    one = rendered(spec(), other)
    assert one == rendered(other, spec(), notebooks=("notebooks/a.ipynb", "notebooks/b.ipynb"))


@pytest.mark.parametrize("text", [rendered(), rendered(spec(First="a==1"))], ids=["plain", "constraints"])
def test_a_linter_finds_nothing(text):
    """hadolint accepts the file with its shell commands, and refuses one with a fault."""
    lint(text).check(stdout="", stderr="")
    assert "DL3002" in lint(text.replace("USER 1000:1000", "USER root")).stdout


def test_a_package_writes_its_dockerfile_and_notebooks(tmp_path):
    """The Dockerfile into the current folder, where the image is built, and the notebooks where they were asked for."""
    with imported_sources(tmp_path / "src", {"one.py": flow("one"), "two.py": flow("two")}) as package:
        file = export_notebook_dockerfile(package, "docker/notebooks")
        assert file == export_notebook_dockerfile(package, tmp_path / "docker" / "notebooks")
    assert file == Path("Dockerfile")
    assert step(file.read_text(), "COPY").split()[1:-1] == [
        "docker/notebooks/a_to_b_cam_one_1.0.ipynb",
        "docker/notebooks/a_to_b_cam_two_1.0.ipynb",
    ]
    assert all(Path(each).is_file() for each in step(file.read_text(), "COPY").split()[1:-1])
    assert "'package-of-a-test[frozen]==1.0'" in file.read_text()


def test_the_other_naming_scheme_has_a_category_as_well(tmp_path):
    """Its process_category is what stands in the base URL."""
    text = flow().replace(
        'input_data="a", output_data="b", category="cam", detail=DETAIL', 'process_category="spec", process_name="x"'
    )
    with imported_sources(tmp_path / "src", {"one.py": text}) as package:
        assert "--ServerApp.base_url=/mpw-spec/" in export_notebook_dockerfile(package).read_text()


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        (
            {"one.py": flow("one"), "two.py": flow("two").replace('"cam"', '"spec"')},
            "notebooks",
            "the workflows have 2 categories, cam, spec; a manual processing worker has one. Keep the workflows",
        ),
        (
            {"one.py": flow("one"), "two.py": flow("two", "2.0")},
            "notebooks",
            "the workflows have 2 releases, package-of-a-test==1.0, package-of-a-test==2.0; a manual processing",
        ),
        (
            {"one.py": flow(version=None)},
            "notebooks",
            "the version of the workflows is 'dev', which is not a release that can be installed. Set BUILD_VERSION to",
        ),
        ({"one.py": flow()}, "../notebooks", "the folder of the notebooks, ../notebooks, is not in "),
        ({"one.py": flow()}, "my notebooks", "has a name that a Dockerfile cannot copy from: 'my notebooks'. Use"),
        ({"one.py": flow()}, "a/-b", "has a name that a Dockerfile cannot copy from: '-b'. Use"),
    ],
    ids=["categories", "versions", "dev", "outside", "space", "option"],
)
def test_a_package_that_no_image_can_be_made_of_is_an_error(tmp_path, files, path, message):
    """Nothing is written."""
    with (
        imported_sources(tmp_path / "src", files) as package,
        pytest.raises(WorkflowError, match=re.escape(message)) as caught,
    ):
        export_notebook_dockerfile(package, path)
    assert isinstance(caught.value, ValueError)
    assert [each.name for each in tmp_path.iterdir()] == ["src"]


def test_faults_come_before_all_else(tmp_path):
    """As for the DAG files."""
    with (
        imported_sources(tmp_path / "src", {"one.py": flow() + "\nworkflow.nodes.clear()\n"}) as package,
        pytest.raises(WorkflowValidationError, match="it has no nodes"),
    ):
        export_notebook_dockerfile(package)
    assert [each.name for each in tmp_path.iterdir()] == ["src"]


def test_a_dockerfile_that_was_not_exported_is_not_replaced(tmp_path):
    """No notebook is written beside it; an exported Dockerfile is replaced."""
    with imported_sources(tmp_path / "src", {"one.py": flow()}) as package:
        Path("Dockerfile").write_text("FROM mine\n")
        with pytest.raises(ChangedFileError, match="\n    Dockerfile\n"):
            export_notebook_dockerfile(package)
        assert not Path("notebooks").exists()
        export_notebook_dockerfile(package, overwrite=True)
        export_notebook_dockerfile(package, "other")
    assert " other/a_to_b_cam_one_1.0.ipynb" in Path("Dockerfile").read_text()


@pytest.fixture(scope="module")
def image(core_wheel, tmp_path_factory):
    """The worker of the example package, as far as it can be made without an engine."""
    folder = tmp_path_factory.mktemp("image")
    links = with_links(make_index(folder / "index", core_wheel, INSTRUMENT))
    python = new_environment(folder / "ci", "dkist-processing-example==1.0.0", **links)
    program = (
        "from dkist_processing_core.build_utils import export_notebook_dockerfile\n"
        "from dkist_processing_example import workflows\n"
        "export_notebook_dockerfile(workflows, context='context')\n"
    )
    run_command(python, "-c", program, cwd=folder, BUILD_VERSION="1.0.0").check()
    replay = Replay(folder / "context" / "Dockerfile", folder / "root")
    replay.run(**links)
    return replay


def in_image(image, *command, **environment):
    return run_command(*command, cwd=image.folder, env={**image.environment, **environment}, seconds=300)


def test_the_steps_give_an_environment_of_exactly_the_release(image):
    """It holds the frozen dependencies of the example, and not JupyterLab."""
    program = "from importlib.metadata import distributions as d; print(*(f'{e.name}=={e.version}' for e in d()))"
    worker = set(
        in_image(image, image.root / "opt/worker/bin/python", "-c", program).stdout.lower().replace("_", "-").split()
    )
    server = in_image(image, image.root / "opt/jupyterlab/bin/python", "-c", program).stdout.lower()
    frozen = re.findall(r'^    "([a-z-]+==[\w.]+)",$', (INSTRUMENT / "pyproject.toml").read_text(), re.MULTILINE)
    assert len(frozen) > 10
    assert {"dkist-processing-example==1.0.0", *frozen} <= worker
    assert not any(each.startswith(("jupyterlab==", "jupyter_server==", "apache-airflow==")) for each in worker)
    assert "jupyterlab==4." in server
    assert "dkist-processing" not in server


def test_the_steps_make_a_user_who_owns_the_notebooks(image):
    """No other step needs root."""
    assert image.log.read_text().splitlines() == [
        "groupadd --gid 1000 worker",
        "useradd --uid 1000 --gid worker --create-home worker",
        f"install --directory --owner=worker --group=worker {image.root}/notebooks",
    ]
    assert sorted(each.name for each in (image.root / "notebooks").glob("*.ipynb")) == [
        "raw_to_level1_example_1.0.0.ipynb",
        "raw_to_level1_example_failing_1.0.0.ipynb",
    ]


def answer(port, path, token=None):
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
        connection.request("GET", path, headers={"Authorization": f"token {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_jupyterlab_answers_below_the_base_url(image):
    """The health check passes, the kernel is that of the release, the notebooks exist, and a token is required."""
    [port] = free_ports(1)
    command = [word.replace("8888", str(port)).replace("0.0.0.0", "127.0.0.1") for word in image.command]
    health = [word.replace("8888", str(port)) for word in image.health]
    root = [] if os.getuid() else ["--allow-root"]  # The replay has no user of its own.
    options = {"cwd": image.folder, "stdout": subprocess.DEVNULL, "env": image.environment, "JUPYTER_TOKEN": TOKEN}
    with start_command(*command, *root, **options) as server:
        try:
            wait_until(
                lambda: in_image(image, *health).returncode == 0 or server.poll() is not None,
                "JupyterLab does not answer",
            )
            assert server.poll() is None, server.stderr.read()
            assert answer(port, "/mpw-example/lab", TOKEN)[0] == 200
            assert answer(port, "/mpw-example/api/contents")[0] == 403
            contents = json.loads(answer(port, "/mpw-example/api/contents", TOKEN)[1])["content"]
            kernels = json.loads(answer(port, "/mpw-example/api/kernelspecs", TOKEN)[1])
            assert answer(port, "/lab", TOKEN)[0] == 404
            server.terminate()
            server.wait(timeout=PATIENCE_SECONDS)
        finally:
            server.kill()
    assert sorted(each["name"] for each in contents if each["type"] == "notebook") == [
        "raw_to_level1_example_1.0.0.ipynb",
        "raw_to_level1_example_failing_1.0.0.ipynb",
    ]
    assert kernels["default"] == "python3"
    assert list(kernels["kernelspecs"]) == ["python3"]
    kernel = kernels["kernelspecs"]["python3"]["spec"]
    assert kernel["display_name"] == "dkist-processing-example 1.0.0"
    assert kernel["argv"][0] == f"{image.root}/opt/worker/bin/python"
    assert in_image(image, *health).returncode != 0


def test_the_notebook_of_the_example_runs_from_first_to_last_cell(image, tmp_path):
    """With JupyterLab's kernel all products are written, and no cell warns of another release."""
    program = [image.root / "opt/jupyterlab/bin/python", REPOSITORY / "tests/support/run_notebook.py"]
    notebook = image.root / "notebooks/raw_to_level1_example_1.0.0.ipynb"
    result = tmp_path / "result.ipynb"
    in_image(image, *program, notebook, result, 5, DKIST_EXAMPLE_SCRATCH=str(tmp_path / "scratch")).check()
    cells = [each for each in json.loads(result.read_text())["cells"] if each["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    assert cells[2]["outputs"] == []
    [run] = (tmp_path / "scratch").iterdir()
    assert run.name == "recipe_run_000005"
    assert (run / "preview.png").is_file()
    document = in_image(
        image,
        *[image.root / "opt/worker/bin/python", "-c"],
        "import sys; from dkist_processing_core.notebook_utils import export_notebook_by_path as e; "
        "sys.stdout.buffer.write(e(sys.argv[1]))",
        result,
    ).stdout
    assert "## `MakePreview`" in document


def test_the_command_line_can_be_used_to_roll_back(image):
    """The worker's programs are on the path of a terminal."""
    assert shutil.which("dkist-processing-core", path=image.environment["PATH"]) == str(
        image.root / "opt/worker/bin/dkist-processing-core"
    )
    assert in_image(image, "dkist-processing-core", "--version").returncode == 0
