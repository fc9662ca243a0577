"""Constraints that a workflow states."""

import pytest
from support.declared_workflows import new_workflow
from support.tasks import First, Second

from dkist_processing_core.authoring.constraints import read_constraints
from dkist_processing_core.exceptions import WorkflowError
from dkist_processing_core.rendering.dag import dag_file

LOCK = """\
# made by some tool
numpy==2.2.5 \\
    --hash=sha256:0123 \\
    --hash=sha256:4567
Astropy == 7.0.2  # via x
scipy==1.15 ; python_version < "3.13"

numpy==2.2.5
"""
CANONICAL = 'Astropy==7.0.2\nnumpy==2.2.5\nscipy==1.15; python_version < "3.13"'


def write(folder, text, name="constraints.txt"):
    file = folder / name
    file.write_text(text)
    return file


def test_a_lock_file_is_reduced_to_what_it_says(tmp_path):
    """Sorted, once each, without comments, hashes and continued lines."""
    assert read_constraints(write(tmp_path, LOCK), workflow="w") == CANONICAL
    assert read_constraints(None, workflow="w") == ""


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://user:s3cret@host/simple",
        "-r other.txt",
        "x @ https://user:s3cret@host/x.whl",
        "not a requirement",
        "numpy",
    ],
    ids=["option", "file", "address", "nonsense", "no-version"],
)
def test_what_is_no_requirement_is_refused(tmp_path, line):
    """With the number of the line, before anything of it could get into a DAG file."""
    file = write(tmp_path, f"numpy==2\n{line}\n")
    with pytest.raises(
        WorkflowError, match=r"'l0_to_l1_cam': the constraints file .* does not pin a version in line 2"
    ):
        new_workflow(constraints=file)


def test_a_missing_file_is_refused(tmp_path):
    """With its name, by the workflow and by the node."""
    with pytest.raises(ValueError, match="the constraints .*none.txt' cannot be read"):
        new_workflow(constraints=tmp_path / "none.txt")
    with pytest.raises(ValueError, match="the constraints .*none.txt' cannot be read"):
        new_workflow().add_node(First, constraints=str(tmp_path / "none.txt"))


def test_a_text_too_long_for_a_variable_is_refused(tmp_path):
    """Linux could not hand it to the script."""
    file = write(tmp_path, "\n".join(f"package-{number}==1" for number in range(9000)))
    with pytest.raises(ValueError, match="characters long"):
        new_workflow(constraints=file)


def test_the_longest_text_is_100_000_characters_long(tmp_path):
    """One more is refused."""
    longest = f"{'p' * 99_997}==1"
    assert read_constraints(write(tmp_path, longest), workflow="w") == longest
    with pytest.raises(WorkflowError, match="is 100001 characters long"):
        read_constraints(write(tmp_path, f"p{longest}"), workflow="w")


def test_those_of_a_node_take_the_place_of_the_workflows(tmp_path):
    """Each text stands in the exported file once, and the nodes name it."""
    workflow = new_workflow(constraints=write(tmp_path, "numpy==2\n"))
    workflow.add_node(First)
    workflow.add_node(Second, upstreams=First, constraints=write(tmp_path, "numpy==1\n", "other.txt"))
    assert [node.constraints for node in workflow.spec.nodes] == ["numpy==2", "numpy==1"]
    text = dag_file(workflow.spec)
    assert text.count("numpy==2") == text.count("numpy==1") == 1
    assert "export DKIST_CONSTRAINTS=numpy==2\n" in workflow.nodes[0].bash_script


def test_only_the_bash_operator_takes_them(tmp_path):
    """Airflow's own operator has no way to use them, so they are refused instead of being ignored."""
    for name, value in (("constraints", write(tmp_path, "numpy==2\n")), ("requires_python", ">=3.12")):
        workflow = new_workflow(**{name: value}, operator="python_virtualenv")
        with pytest.raises(WorkflowError, match=f"the operator 'python_virtualenv' does not support {name}"):
            workflow.add_node(First)


def test_a_required_python_is_a_version_specifier():
    """As in pyproject.toml; it is in the exported file, and in the script of each node."""
    workflow = new_workflow(requires_python=">=3.12, <4")
    workflow.add_node(First)
    assert '    requires_python="<4,>=3.12",\n' in dag_file(workflow.spec)
    assert "export DKIST_REQUIRES_PYTHON='<4,>=3.12'\n" in workflow.nodes[0].bash_script
    for wrong in ("3.12", "newest", 3.12):
        with pytest.raises(WorkflowError, match=f"requires_python is {wrong!r}, which is not a version specifier"):
            new_workflow(requires_python=wrong)


def test_an_unknown_operator_is_refused():
    """With the one that was probably meant."""
    with pytest.raises(WorkflowError, match=r"no operator 'pyton_virtualenv' \(did you mean 'python_virtualenv'\?\)"):
        new_workflow(operator="pyton_virtualenv")
