"""A worker that is set up for pip alone: uv finds there what pip finds."""

import shutil
import sys
from urllib.parse import urlsplit

import pytest
from support.certificates import make_certificates
from support.command_line import run_command
from support.http_server import Request, files_in, http_server
from support.releases import build_wheel, run_uv, write_package
from support.script_package import FILES, NAME
from support.script_runs import environments, new_spec, worker_without_uv
from uv import find_uv_bin

from dkist_processing_core.rendering.script import runnable_script

pytestmark = [pytest.mark.network, pytest.mark.once]


@pytest.fixture(scope="module")
def wheels(core_wheel, tmp_path_factory):
    """The wheels of a release and of all that it needs, of one dependency in two versions."""
    folder = tmp_path_factory.mktemp("wheels")
    project = write_package(tmp_path_factory.mktemp("sources"), FILES, name=NAME)
    build_wheel(project, folder)
    venv = tmp_path_factory.mktemp("downloader") / "venv"
    run_uv("venv", "--quiet", "--seed", "--python", sys.executable, venv)
    for requirements in ([*core_wheel.glob("*.whl"), "packaging==26.0"], ["packaging==25.0"]):
        download = [venv / "bin/python", "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "-d", folder]
        run_command(*download, *requirements).check()
    return folder


@pytest.fixture
def index(tmp_path):
    """A server of package indexes (PEP 503), and the folder that it serves."""
    root = tmp_path / "served"
    root.mkdir()
    with http_server(files_in(root)) as port:
        yield f"http://127.0.0.1:{port}", root


def put(simple, *wheels):
    for wheel in wheels:
        project = simple / wheel.name.split("-")[0].lower().replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        shutil.copy(wheel, project)
        links = "".join(f'<a href="{each.name}">{each.name}</a>\n' for each in sorted(project.glob("*.whl")))
        (project / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


def build(installer, folder, pip_conf, **variables):
    """Run a task on a worker that is set up by the text of pip.conf; return its environment, and the log."""
    home = folder / "home"
    (home / ".config" / "pip").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "pip" / "pip.conf").write_text(pip_conf)
    worker = worker_without_uv(folder / f"tools-{installer}")
    if installer == "uv":
        (folder / "tools-uv" / "uv").symlink_to(find_uv_bin())
    spec = new_spec()
    own = {"HOME": home, "DKIST_ENVIRONMENT_CACHE": folder / installer, "DKIST_RECIPE_RUN_ID": "1"}
    script = runnable_script(spec, spec.nodes[0])
    # No variable of an installer is inherited: nothing but the file says where packages are.
    done = run_command("bash", "-c", script, env={**worker, **own, **variables}, merge=True).check()
    [environment] = environments(folder / installer)
    return environment, done.stdout


def test_pip_conf_alone_gives_the_same_environment_with_uv_as_with_pip(wheels, index, tmp_path):
    """The file names an index, an extra index with a newer version of one package, and a folder of wheels."""
    address, root = index
    links = tmp_path / "links"
    links.mkdir()
    for wheel in wheels.glob("*.whl"):
        if wheel.name.startswith("packaging-26"):
            put(root / "extra", wheel)
        elif wheel.name.startswith(("packaging-25", "dkist_script_test")):
            put(root / "simple", wheel)
        else:
            shutil.copy(wheel, links)
    pip_conf = (
        f"[global]\nindex-url = {address}/simple\nextra-index-url = {address}/extra\n[install]\nfind-links = {links}\n"
    )
    found = {}
    for installer in ("uv", "pip"):
        environment, _ = build(installer, tmp_path, pip_conf)
        names = sorted(each.name for each in environment.glob("lib/*/site-packages/*.dist-info"))
        found[installer] = [name for name in names if not name.startswith(("pip-", "setuptools-"))]
    assert found["uv"] == found["pip"]
    assert "packaging-26.0.dist-info" in found["uv"]
    assert len(found["uv"]) == 16


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_proxy_in_pip_conf_is_asked(wheels, index, tmp_path, installer):
    """The index has no address of its own, so nothing but the proxy reaches it."""
    _, root = index
    put(root / "simple", *wheels.glob("*.whl"))
    asked = []

    def answer(request):
        asked.append(request.path)
        return files_in(root)(Request("GET", urlsplit(request.path).path, {}, b""))

    with http_server(answer) as port:
        pip_conf = f"[global]\nindex-url = http://packages.invalid/simple\nproxy = http://127.0.0.1:{port}\n"
        pip_conf += "trusted-host = packages.invalid\n"
        # pip asks no variable for exceptions if it has a proxy of its own.
        build(installer, tmp_path, pip_conf, NO_PROXY="packages.invalid")
    assert any(path.startswith("http://packages.invalid/simple/dkist-script-test/") for path in asked)


@pytest.mark.parametrize(
    ("installer", "variable"),
    [("uv", "REQUESTS_CA_BUNDLE"), ("uv", "CURL_CA_BUNDLE"), ("uv", "PIP_CERT"), ("pip", "REQUESTS_CA_BUNDLE")],
)
def test_an_authority_of_the_site_is_trusted(wheels, tmp_path, installer, variable):
    """Whichever variable names its certificate, beside one for other programs that names other ones."""
    root = tmp_path / "served"
    put(root / "simple", *wheels.glob("*.whl"))
    certificates, others = (make_certificates(tmp_path / name) for name in ("ours", "others"))
    with http_server(files_in(root), tls=certificates.context()) as port:
        # By its name: pip 24.2, which Python 3.13.0 brings, cannot ask an address by TLS ("requires server_hostname").
        pip_conf = f"[global]\nindex-url = https://localhost:{port}/simple\nretries = 0\n"
        trusted = {"SSL_CERT_FILE": str(others.authority), variable: str(certificates.authority)}
        build(installer, tmp_path, pip_conf, **trusted)


def test_what_uv_is_not_given_is_named(wheels, index, tmp_path):
    """In one line of the log of the build."""
    address, root = index
    put(root / "simple", *wheels.glob("*.whl"))
    pip_conf = f"[global]\nindex-url = {address}/simple\n[install]\nprefer-binary = true\ntarget = /nowhere\n"
    _, log = build("uv", tmp_path, pip_conf, PIP_PROGRESS_BAR="off", PIP_ONLY_BINARY=":all:")
    assert "settings of pip that are not passed to uv: prefer-binary, progress-bar, target\n" in log


def test_what_installs_elsewhere_is_not_given_to_pip(wheels, index, tmp_path):
    """Neither from a file nor from a variable; the log names it."""
    address, root = index
    put(root / "simple", *wheels.glob("*.whl"))
    pip_conf = f"[global]\nindex-url = {address}/simple\n[install]\ntarget = {tmp_path / 'target'}\nuser = true\n"
    _, log = build("pip", tmp_path, pip_conf, PIP_DRY_RUN="1", PIP_ISOLATED="1", PIP_VERSION="23")
    assert "settings of pip that are not passed to pip: dry-run, isolated, target, user, version\n" in log
    assert not (tmp_path / "target").exists()
