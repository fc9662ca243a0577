"""What an environment contains, whoever has installed it and wherever it is."""

import json
import os
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from support.command_line import run_command
from support.described_environments import install, site_packages
from support.releases import run_uv
from support.wheels import make_wheel

from dkist_processing_core.common.environment import identity_of
from dkist_processing_core.worker import inventory
from dkist_processing_core.worker.inventory import take_inventory

CAMERA = {
    "camera/__init__.py": "GAIN = 1\n",
    "camera/naïve, with comma.txt": "data\n",
    "observatory/camera/part.py": "",
    "camera-1.0.data/data/share/camera/flat.txt": "flat\n",
    "camera-1.0.data/scripts/expose": "#!python\nprint('exposed')\n",
    "{info}/entry_points.txt": "[console_scripts]\ncamera = camera:main\n",
}
SPECTRUM = {"observatory/spectrum/part.py": "", "spectrum.py": ""}

pytestmark = pytest.mark.once


def install_with_pip(folder, *wheels):
    """Make an environment of some wheels, with the pip that comes with Python."""
    run_command(sys.executable, "-m", "venv", folder.with_name("seed")).check()
    run_command(sys.executable, "-m", "venv", "--without-pip", folder).check()
    pip = [folder.with_name("seed") / "bin/python", "-m", "pip", "--python", folder / "bin/python"]
    run_command(*pip, "install", "--quiet", "--no-index", "--no-compile", *wheels).check()
    return folder


def identity(environment):
    """Return the identity of an environment without a checkout."""
    return identity_of(take_inventory(environment)._asdict())


@pytest.fixture
def wheels(tmp_path):
    """The wheels of two distributions that share a namespace."""
    folder = tmp_path / "wheels"
    return [make_wheel(folder, "camera", "1.0", files=CAMERA), make_wheel(folder, "spectrum", "2.0", files=SPECTRUM)]


def test_the_identity_is_that_of_the_files(wheels, tmp_path):
    """uv and pip, two places of different lengths, files that are links: the same; all files are as they are listed."""
    first = install(tmp_path / "first", *wheels)
    others = [
        install_with_pip(tmp_path / "with-pip" / ("long" * 40), *wheels),
        install(tmp_path / "links", *reversed(wheels), link_mode="symlink"),
    ]
    assert {identity(each) for each in others} == {identity(first)}
    for each in (first, *others):
        found = take_inventory(each)
        assert (found.missing, found.changed, found.other_sha256) == ([], [], None)
        assert [(its["name"], its["version"]) for its in found.distributions] == [
            ("camera", "1.0"),
            ("spectrum", "2.0"),
        ]


@pytest.mark.parametrize("path", [*CAMERA, "camera/another.py"])
def test_one_byte_of_one_file_is_another_identity(wheels, tmp_path, path):
    """Whatever the file: a module, data, a script, metadata; or one more file."""
    changed = {**CAMERA, path: CAMERA.get(path, "") + "\n"}
    other = make_wheel(tmp_path / "changed", "camera", "1.0", files=changed)
    found = [install(tmp_path / "a", *wheels), install(tmp_path / "b", other, wheels[1])]
    assert len({identity(each) for each in found}) == 2
    (camera, spectrum), others = (take_inventory(each).distributions for each in found)
    assert camera["files_sha256"] != others[0]["files_sha256"]
    assert spectrum["files_sha256"] == others[1]["files_sha256"]


def test_the_digest_of_the_files_is_as_documented(tmp_path):
    """Names with commas, quotes and other letters included; the generated script is not, the list of scripts is."""
    files = {"a, b.txt": "1\n", 'quoted".py': "2\n", "\u540d.py": "3\n"}
    wheel = make_wheel(
        tmp_path, "camera", "1.0", files=files | {"{info}/entry_points.txt": "[console_scripts]\nx = a:b\n"}
    )
    with zipfile.ZipFile(wheel) as archive:
        rows = [[each, sha256(archive.read(each)).hexdigest()] for each in archive.namelist() if "RECORD" not in each]
    [found] = take_inventory(install(tmp_path / "venv", wheel)).distributions
    assert len(rows) == 6
    assert found["files_sha256"] == sha256(json.dumps(sorted(rows)).encode()).hexdigest()


def test_what_python_compiles_is_no_part_of_it(wheels, tmp_path):
    """It is neither another file nor another identity."""
    environment = install(tmp_path / "venv", *wheels)
    before = take_inventory(environment)
    program = "import camera; assert camera.__cached__"
    run_command(environment / "bin/python", "-c", program, env={"PATH": os.environ["PATH"]}).check()
    assert list(site_packages(environment).glob("camera/__pycache__/*.pyc"))
    assert take_inventory(environment) == before


@pytest.mark.parametrize(
    ("path", "shipped"),
    [
        ("camera.py", {"{info}/direct_url.json": '{"url": "file:///x", "dir_info": {"editable": true}}'}),
        ("camera.py", {"{info}/direct_url.json": '{"url": "file:///x", "dir_info": "x"}'}),
        ("camera/__pycache__/code.py", {}),
        ("{info}/uv_notes.json", {}),
    ],
)
def test_no_file_that_a_wheel_ships_is_overlooked(tmp_path, path, shipped):
    """Whatever the wheel says of itself, and wherever the file is."""
    found = set()
    for content in ("X = 1\n", "X = 2\n"):
        wheel = make_wheel(tmp_path / content[4], "camera", "1.0", files={path: content, **shipped})
        found.add(identity(install(tmp_path / f"venv{content[4]}", wheel)))
    assert len(found) == 2


@pytest.mark.parametrize("name", ["RECORD", "METADATA", "entry_points.txt", "direct_url.json", "../spectrum.py"])
def test_what_is_no_file_is_not_waited_for(wheels, tmp_path, name):
    """A FIFO in the place of what is read of a distribution; a module is then a file that has changed."""
    environment = install(tmp_path / "venv", *wheels)
    file = (site_packages(environment) / "camera-1.0.dist-info" / name).resolve()
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    found = take_inventory(environment)
    where = f"{file.relative_to(environment)}"
    assert where in {*found.changed, *found.missing, *found.other_files}
    assert not name.endswith(".py") or found.changed == [where]


def test_a_file_of_two_distributions_counts_as_it_is(tmp_path):
    """The one that was installed last stays, which is no damage; another order is another environment."""
    first = make_wheel(tmp_path / "wheels", "first", "1.0", files={"shared.py": "1\n"})
    second = make_wheel(tmp_path / "wheels", "second", "1.0", files={"shared.py": "2\n"})
    found = []
    for name, order in (("a", [first, second]), ("b", [second, first])):
        environment = install(tmp_path / name, order[0])
        run_uv("pip", "install", "--no-index", "--python", environment / "bin/python", order[1])
        found.append(take_inventory(environment))
        assert (found[-1].missing, found[-1].changed) == ([], [])
    assert found[0].distributions[0]["files_sha256"] != found[1].distributions[0]["files_sha256"]


def test_what_is_not_as_it_was_installed_is_named(wheels, tmp_path):
    """A file that has changed, one that is missing, and a list of files that is too short."""
    environment = install(tmp_path / "venv", *wheels)
    modules = site_packages(environment)
    (modules / "camera/__init__.py").write_text("GAIN = 2\n")
    (environment / "share/camera/flat.txt").unlink()
    (modules / "spectrum-2.0.dist-info/RECORD").write_text("spectrum.py,,\n")
    found = take_inventory(environment)
    shown = modules.relative_to(environment)
    assert found.missing == ["share/camera/flat.txt"]
    assert found.changed == [f"{shown}/camera/__init__.py", f"{shown}/spectrum-2.0.dist-info/RECORD"]


def test_a_list_without_digests_is_no_reason_to_leave_a_file_out(tmp_path):
    """The digest of an environment counts the content of each file, also one that a list has no digest of."""
    found = []
    for name, text in (("a", "1\n"), ("b", "2\n")):
        environment = install(
            tmp_path / name, make_wheel(tmp_path / f"wheel-{name}", "camera", "1.0", files={"c.py": text})
        )
        record = site_packages(environment) / "camera-1.0.dist-info/RECORD"
        record.write_text("".join(f"{line.split(',')[0]},,\n" for line in record.read_text().splitlines()))
        found.append(take_inventory(environment))
    assert [(each.missing, each.changed) for each in found] == [([], [])] * 2
    assert found[0].distributions[0]["files_sha256"] != found[1].distributions[0]["files_sha256"]


def test_modules_of_no_distribution_count(wheels, tmp_path):
    """Such as those of a distribution without a list, or a link to a folder; not what makers of environments add."""
    environment = install(tmp_path / "venv", *wheels)
    found = [identity(environment)]
    modules = site_packages(environment)
    (modules / "_virtualenv.py").touch()
    assert identity(environment) == found[0]
    for change in (
        lambda: (modules / "old.egg-info").write_text("Name: old\n"),
        lambda: (modules / "old.py").write_text("1\n"),
        lambda: (modules / "linked").symlink_to(tmp_path),
    ):
        change()
        found.append(identity(environment))
    assert len(set(found)) == 4
    assert take_inventory(environment).other_files[f"{modules.relative_to(environment)}/linked"] == f"-> {tmp_path}"


def test_the_program_writes_what_the_environment_contains(wheels, tmp_path):
    """In the Python of the environment, without anything but the standard library."""
    environment = install(tmp_path / "venv", *wheels)
    program = [environment / "bin/python", "-I", inventory.__file__, tmp_path / "out.json"]
    run_command(*program).check()
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["distributions"] == take_inventory(environment).distributions
    assert written["interpreter"]["version"] == sys.version.split()[0]
    assert Path(written["interpreter"]["executable"]) == Path(sys.executable).resolve()
    (site_packages(environment) / "spectrum.py").unlink()
    done = run_command(*program).check(status=1)
    assert done.stderr.startswith("1 files of the environment are missing or damaged, such as ")
    assert done.stderr.endswith("/site-packages/spectrum.py\n")
