"""
What a release consists of: its archives, their contents and metadata, and the changelog.

``make release-check`` runs these tests on the archives that are uploaded, ``make test`` on archives of its own.
"""

import os
import sys
import tarfile
import zipfile
from email import message_from_bytes

import pytest
from support.archives import NoCheckoutError, build, copy_sources, digests
from support.command_line import run_command
from support.releases import VERSION

pytestmark = [pytest.mark.release, pytest.mark.network, pytest.mark.once]

LICENCE = "LICENSE"


def run_tool(*arguments, cwd):
    """Run a tool of this environment; the error shows what it said if it fails."""
    command = [sys.executable, "-P", "-m", *arguments]
    return run_command(*command, cwd=cwd, merge=True, seconds=300, NO_COLOR="1", PYTHONUTF8="1").check().stdout


@pytest.fixture
def sources(tmp_path):
    """A copy of the sources, which a test may change."""
    try:
        return copy_sources(tmp_path / "sources")
    except NoCheckoutError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def wheel(archives):
    [found] = archives.glob("*.whl")
    return found


@pytest.fixture
def sdist(archives):
    [found] = archives.glob("*.tar.gz")
    return found


def test_the_archives_are_the_same_bytes_wherever_and_whenever_they_are_built(archives, sources, tmp_path, monkeypatch):
    """Folder, time, umask, locale and time zone leave no trace; the wheel is that of the sources, and of the sdist."""
    for name, value in {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)
    for each in [*sources.rglob("*"), sources]:
        if ".git" not in each.parts:
            each.chmod(each.stat().st_mode & 0o700)
            os.utime(each, (981_173_106, 981_173_106))
    before = os.umask(0o077)
    try:
        by_sdist, by_sources = (
            digests(build(sources, tmp_path / kind, *options))
            for kind, options in {"both": (), "wheel": ("--wheel",)}.items()
        )
    finally:
        os.umask(before)
    assert len(by_sources) == 1
    assert by_sources.items() <= by_sdist.items()
    assert digests(archives) == by_sdist


def test_the_wheel_has_the_package_and_nothing_else(wheel, sources):
    """As check-wheel-contents judges, which compares it with the folder of the package."""
    package = ("--package", sources / "dkist_processing_core", "--package-omit", "__pycache__")
    run_tool("check_wheel_contents", *package, wheel, cwd=sources)


def test_the_sdist_has_the_version_controlled_files_and_nothing_else(sources):
    """As check-sdist judges, with what editors and tools leave behind in the folder."""
    (sources / ".build").mkdir()
    (sources / ".build" / "left").touch()
    run_tool("check_sdist", "--no-isolation", cwd=sources)


def test_the_sdist_has_all_that_the_tests_need(sdist, sources):
    """Whoever packages this library for a distribution can run them."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = run_command("git", "ls-files", cwd=sources).check()
    assert set(listed.stdout.splitlines()) <= names


def test_the_metadata_can_be_rendered(wheel, sdist, sources):
    """The index shows the README as a page, without an error or a warning."""
    run_tool("twine", "check", "--strict", wheel, sdist, cwd=sources)


def test_the_archives_have_the_licence_and_the_version(wheel, sdist, sources):
    """The text in both of them, and the name of the licence in their metadata, which are the same."""
    text, root = (sources / LICENCE).read_bytes(), sdist.name.removesuffix(".tar.gz")
    info = f"{root}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"{info}/licenses/{LICENCE}") == text
        metadata = archive.read(f"{info}/METADATA")
    with tarfile.open(sdist) as archive:
        assert archive.extractfile(f"{root}/{LICENCE}").read() == text
        assert archive.extractfile(f"{root}/PKG-INFO").read() == metadata
    fields = message_from_bytes(metadata)
    assert (fields["License-Expression"], fields["License-File"], fields["Version"]) == (
        "BSD-3-Clause",
        LICENCE,
        VERSION,
    )


def test_the_changelog_is_built_from_its_fragments(sources, tmp_path):
    """Each fragment goes into CHANGELOG.rst and is deleted; the documentation renders it without a warning."""
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    fragments = [each for each in (sources / "changelog").glob("*.rst") if each.name != "README.rst"]
    texts = [" ".join(each.read_text().split()) for each in fragments]
    run_tool("towncrier", "build", "--yes", "--version", VERSION, cwd=sources)
    changelog = (sources / "CHANGELOG.rst").read_text()
    assert changelog.startswith(f"{VERSION} (")
    words = " ".join(changelog.split())
    assert [text for text in texts if text not in words] == []
    assert [each for each in fragments if each.exists()] == []
    run_tool("sphinx", "--builder", "dummy", "--fail-on-warning", "--quiet", "docs", tmp_path / "pages", cwd=sources)


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("bitbucket-pipelines.yml", ("check_jsonschema", "--builtin-schema", "vendor.bitbucket-pipelines")),
        (".pre-commit-config.yaml", ("pre_commit", "validate-config")),
    ],
    ids=["pipelines", "pre-commit"],
)
def test_the_files_of_ci_are_valid(file, command, sources):
    """By the schema of whoever reads them."""
    run_tool(*command, file, cwd=sources)
