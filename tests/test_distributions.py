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


def test_a_single_module_has_its_distribution(site):
    """It is a file of its own, whatever else lies beside it and comes first in the RECORD."""
    install(site, "dist-test-m", ["dist_test_mm/dist_test_m.py"])
    install(site, "single", ["dist_test_a.py", "dist_test_m.py"])
    assert providing_distribution("dist_test_m") == "single"


def test_a_package_without_an_init_file_belongs_to_who_has_files_in_it(site, tmp_path, monkeypatch):
    """Not to the distribution that is named like the package; of two folders, the one that is imported first counts."""
    install(site, "dist-test-p", ["dist_test_p/other/deep/module.py"])
    install(site, "first", ["dist_test_p/deep/inside/module.py"])
    later = tmp_path / "later"
    install(later, "second", ["dist_test_p/deep/inside/other.py"])
    monkeypatch.setattr(sys, "path", [*sys.path, str(later)])
    assert providing_distribution("dist_test_p.deep.inside") == "first"


@pytest.mark.parametrize(
    "direct_url", ["{", "[]", '{"dir_info": {"editable": true}}'], ids=["no-json", "no-table", "no-url"]
)
def test_a_damaged_direct_url_is_as_none(site, direct_url):
    """The RECORD is what is left to find a distribution by."""
    install(site, "damaged", ["dist_test_d/__init__.py"])
    (site / "damaged-1.0.dist-info" / "direct_url.json").write_text(direct_url)
    assert providing_distribution("dist_test_d") == "damaged"


def test_a_distribution_without_a_record_provides_nothing(site):
    """As some installers of operating systems leave one; it hides no other one."""
    install(site, "dist-test-r", ["dist_test_r/__init__.py"])
    (site / "dist_test_r-1.0.dist-info" / "RECORD").unlink()
    assert providing_distribution("dist_test_r") is None


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
    assert providing_distribution("dist_test_not_there") is None


def test_the_derived_name_follows_the_convention():
    """Underscores become dashes, and only the top level counts."""
    assert derived_name("dkist_processing_test.workflows") == "dkist-processing-test"


def test_this_library_is_found():
    """In whichever way it is installed here."""
    assert providing_distribution("dkist_processing_core") == "dkist-processing-core"
