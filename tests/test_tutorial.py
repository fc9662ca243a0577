"""The tutorial and the guide to writing a package show what really happens."""

import os
import re

import pytest
from support import transcripts
from support.releases import REPOSITORY, new_environment, with_links

from dkist_processing_core.project.new import make_package

DOCS = REPOSITORY / "docs"
EXCERPT = re.compile(r"^\.\. code-block:: python\n   :caption: (\S+)\n\n((?:   .*\n|\n)+)", re.MULTILINE)


@pytest.mark.once
def test_the_tutorial_is_what_happens(tmp_path, core_wheel):
    """Each command from the making of a package to the environments of its release, with its output."""
    page = (DOCS / "tutorial" / "first_package.rst").read_text(encoding="utf-8")
    page = page[page.index("Make a package\n---") : page.index("Run it in Airflow\n---")]
    [wheel] = core_wheel.glob("*.whl")
    python = new_environment(tmp_path / "environment", f"dkist-processing-core[build] @ {wheel.as_uri()}")
    home = tmp_path / "home"
    (home / "wheels").mkdir(parents=True)
    (home / "wheels" / wheel.name).symlink_to(wheel)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DKIST_", "XDG_"))},
        **with_links(home / "wheels"),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(python.parents[1]),  # as an activated environment has it
    }
    expected = list(transcripts.commands(page))
    actual = transcripts.replay([each.text for each in expected], home, environment)
    for shown, done in zip(expected, actual, strict=True):
        assert transcripts.agrees(shown.output, done.output), f"$ {done.text}\n" + "\n".join(done.output)


def test_the_guide_shows_the_code_of_the_template(tmp_path):
    """Each excerpt stands in the file that its caption names."""
    package = make_package("dkist-processing-cam", tmp_path / "package")
    excerpts = EXCERPT.findall((DOCS / "how-to" / "write_package.rst").read_text(encoding="utf-8"))
    assert len(excerpts) > 5
    for name, block in excerpts:
        text = re.sub("^   ", "", block.rstrip(), flags=re.MULTILINE)
        assert text in (package.folder / name).read_text(encoding="utf-8"), name
