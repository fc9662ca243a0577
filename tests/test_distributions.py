"""Which installed distribution provides a package."""

import json
import sys

import pytest

from dkist_processing_core.authoring.distributions import derived_name, providing_distribution


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path into which distributions can be installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    providing_distribution.cache_clear()
    yield folder
    providing_distribution.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("dist_test"):
            del sys.modules[name]


def install(folder, name, files, direct_url=None):
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
    if direct_url:
        (info / "direct_url.json").write_text(json.dumps(direct_url))


def test_the_name_is_that_of_the_metadata(site):
    """A distribution with another name than its package is found."""
    install(site, "solar-Instrument", ["dist_test_a/__init__.py", "dist_test_a/workflows/__init__.py"])
    assert providing_distribution("dist_test_a.workflows") == "solar-Instrument"


def test_each_part_of_a_namespace_package_has_its_own_distribution(site):
    """Two distributions share the top level name; the place of the package decides."""
    install(site, "one", ["dist_test_ns/one/__init__.py"])
    install(site, "two", ["dist_test_ns/two/__init__.py"])
    assert providing_distribution("dist_test_ns.one") == "one"
    assert providing_distribution("dist_test_ns.two") == "two"


def test_an_editable_installation_is_found(site, tmp_path, monkeypatch):
    """Its files are not in the RECORD, but its checkout is in direct_url.json."""
    checkout = tmp_path / "check out"
    (checkout / "src" / "dist_test_e").mkdir(parents=True)
    (checkout / "src" / "dist_test_e" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(checkout / "src"))
    install(site, "elsewhere", [], {"url": checkout.as_uri(), "dir_info": {"editable": True}})
    assert providing_distribution("dist_test_e") == "elsewhere"


def test_a_project_inside_of_another_ones_checkout_is_its_own(site, tmp_path, monkeypatch):
    """In a repository of several projects, only what belongs to the installed one is found there."""
    checkout = tmp_path / "repository"
    inner = checkout / "examples" / "inner"
    for project, package in ((checkout, "dist_test_outer"), (inner, "dist_test_inner")):
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").write_text("")
        (project / "pyproject.toml").write_text("")
        monkeypatch.syspath_prepend(str(project))
    install(site, "outer", [], {"url": checkout.as_uri(), "dir_info": {"editable": True}})
    assert providing_distribution("dist_test_outer") == "outer"
    assert providing_distribution("dist_test_inner") is None


def test_a_package_of_no_distribution_has_none(site):
    """Neither has one that is not there at all."""
    (site / "dist_test_x").mkdir()
    (site / "dist_test_x" / "__init__.py").write_text("")
    assert providing_distribution("dist_test_x") is None
    assert providing_distribution("dist_test_not_there.at.all") is None


def test_the_derived_name_follows_the_convention():
    """Underscores become dashes, and only the top level counts."""
    assert derived_name("dkist_processing_test.workflows") == "dkist-processing-test"


def test_this_library_is_found():
    """In whichever way it is installed here."""
    assert providing_distribution("dkist_processing_core") == "dkist-processing-core"
