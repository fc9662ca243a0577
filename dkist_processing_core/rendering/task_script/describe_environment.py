# Part of the task script; runs on the worker's Python with the standard library alone. Prints, each ended by NUL: the
# name of the folder that an environment for DKIST_REQUIREMENT has in the cache, then the settings (NAME=value) that
# make uv find what pip would find, since uv does not read pip's settings.
import configparser
import hashlib
import json
import math
import os
import re
import sys
import sysconfig
from pathlib import Path

# What decides which files a requirement resolves to, so what makes another environment of the same requirement.
INDEX_SETTINGS = (
    "UV_DEFAULT_INDEX",
    "UV_EXCLUDE_NEWER",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_INDEX_URL",
    "UV_NO_INDEX",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
)
FILE_SETTINGS = ("UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_OVERRIDE")


def pip_settings() -> dict[str, str]:
    """Return pip's settings for an installation, from its files and the environment, the later winning."""
    home = Path(os.path.expanduser("~"))
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf"]
    files += [Path(folder) / "pip/pip.conf" for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    files += [Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"]
    files += [Path(sys.prefix) / "pip.conf"]
    if os.environ.get("PIP_CONFIG_FILE"):
        files = [] if os.environ["PIP_CONFIG_FILE"] == os.devnull else [*files, Path(os.environ["PIP_CONFIG_FILE"])]
    settings: dict[str, str] = {}
    parser = configparser.RawConfigParser()
    for file in files:
        try:
            parser.read(file)
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            # Not the message, which quotes the line, which may hold a password.
            sys.stderr.write(f"{file} cannot be read ({type(error).__name__}) and is passed over\n")
    for section in ("global", "install"):
        if parser.has_section(section):
            settings.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            settings[name[len("PIP_") :].lower().replace("_", "-")] = value
    return settings


def uv_settings(pip: dict[str, str]) -> dict[str, str]:
    """Return the variables that uv needs to do as pip's settings say; what is set for uv itself stays as it is."""
    settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    settings["UV_HTTP_TIMEOUT"] = whole_seconds(pip.get("timeout") or pip.get("default-timeout") or "15")
    settings["UV_HTTP_RETRIES"] = pip.get("retries") or "5"
    for name, key, separator in (
        ("UV_DEFAULT_INDEX", "index-url", " "),
        ("UV_INDEX", "extra-index-url", " "),
        ("UV_FIND_LINKS", "find-links", ","),
        ("UV_CONSTRAINT", "constraint", " "),
        ("UV_INSECURE_HOST", "trusted-host", " "),
        ("SSL_CERT_FILE", "cert", " "),
        ("SSL_CLIENT_CERT", "client-cert", " "),
    ):
        if pip.get(key):
            settings[name] = separator.join(pip[key].split())
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        settings["UV_NO_INDEX"] = "1"
    if pip.get("pre", "").lower() in ("1", "true", "yes", "on"):
        settings["UV_PRERELEASE"] = "allow"
    old_names = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
    return {
        name: value
        for name, value in settings.items()
        if name not in os.environ and old_names.get(name, name) not in os.environ
    }


def whole_seconds(text: str) -> str:
    """Return a time as uv wants it; pip takes fractions as well."""
    try:
        return str(math.ceil(float(text)))
    except ValueError:
        return text


def without_password(text: str) -> str:
    """Return the text without the user and password of addresses: a new password is no other package index."""
    return re.sub(r"(?<=://)[^/\s]+@", "", text)


def contents(paths: str) -> list[str]:
    """Return what stands in each of the files; an address stands for itself."""
    return [
        without_password(path) if "://" in path else Path(path).read_text(encoding="utf-8") for path in paths.split()
    ]


def dev_installation(extras: list[str]) -> str:
    """Return what to install for the version dev: the checkout that DKIST_DEV_PROJECT names."""
    project = os.environ.get("DKIST_DEV_PROJECT", "")
    if not project or not (Path(project) / "pyproject.toml").is_file():
        sys.exit(
            f"the version dev is no release that could be installed, and DKIST_DEV_PROJECT is {project!r}. "
            "Set DKIST_DEV_PROJECT to a checkout of the package, the folder with its pyproject.toml."
        )
    return f"{Path(project).resolve()}[{','.join(extras)}]"


def main() -> None:
    """Print the key and the settings."""
    requirement = os.environ["DKIST_REQUIREMENT"]
    match = re.fullmatch(r"([A-Za-z0-9._-]+)\[([A-Za-z0-9._,-]*)\]==([A-Za-z0-9._!+-]+)", requirement)
    if match is None:
        sys.exit(f"DKIST_REQUIREMENT is {requirement!r}; it must read name[extra,...]==version")
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    extras = sorted({re.sub(r"[-_.]+", "-", extra).lower() for extra in match[2].split(",") if extra})
    version = match[3]
    settings = uv_settings(pip_settings())
    effective = {**os.environ, **settings}
    parts = {
        "name": name,
        "version": version,
        "extras": extras,
        "interpreter": [
            os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable),
            sys.version,
            sysconfig.get_config_var("SOABI"),
            sysconfig.get_platform(),
        ],
        "index": {key: without_password(effective.get(key, "")) for key in INDEX_SETTINGS},
        "constraints": os.environ.get("DKIST_CONSTRAINTS", "").split("\n"),
        "files": {key: contents(effective.get(key, "")) for key in FILE_SETTINGS},
    }
    if version == "dev":
        settings["DKIST_DEV_INSTALL"] = dev_installation(extras)
        project = settings["DKIST_DEV_INSTALL"].rpartition("[")[0]
        parts["dev"] = [project, *contents(f"{project}/pyproject.toml")]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    for item in (f"{name}-{version}-{digest}", *(f"{key}={value}" for key, value in settings.items())):
        sys.stdout.write(item + "\0")


main()
