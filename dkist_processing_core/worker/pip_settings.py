"""
The settings of pip, for either installer.

Runs in: worker. uv does not read pip's settings, and pip in a new environment does not read those of the Python that
made it. So they are read here and given to both as environment variables.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from dkist_processing_core.common.settings import is_true
from dkist_processing_core.worker import log

__all__ = ["installer_variables"]

FOR_UV = {
    "UV_DEFAULT_INDEX": "index-url",
    "UV_INDEX": "extra-index-url",
    "UV_FIND_LINKS": "find-links",
    "UV_CONSTRAINT": "constraint",
    "UV_INSECURE_HOST": "trusted-host",
    "SSL_CERT_FILE": "cert",
    "SSL_CLIENT_CERT": "client-cert",
}
# The installers work in another folder, where a relative path would name another file.
UV_PATHS = ("UV_BUILD_CONSTRAINT", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_FIND_LINKS", "UV_OVERRIDE")
PIP_PATHS = ("cert", "client-cert", "constraint", "find-links")
# They would install somewhere else than into the environment.
ELSEWHERE = frozenset({"prefix", "require-virtualenv", "root", "target", "user"})


def installer_variables(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """
    Return the environment variables of the installer, be it uv or pip: those of the worker, and pip's settings.

    What is set for uv itself wins. ``prefix`` is the folder of the Python whose ``pip.conf`` counts.
    """
    settings = _pip_settings(environment, prefix)
    for_pip = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items() if key not in ELSEWHERE}
    return {**environment, **for_pip, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", **_for_uv(settings, environment)}


def _pip_settings(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return pip's settings for an installation, from its files and the environment, which wins."""
    files = [each for each in _configuration_files(environment, prefix) if each.is_file()]
    settings = _read(files) if files else {}
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    for key in PIP_PATHS:
        if key in settings:
            settings[key] = " ".join(map(_absolute, settings[key].split()))
    return settings


def _for_uv(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make uv follow pip's settings."""
    variables = {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_HTTP_TIMEOUT": _whole_seconds(settings.get("timeout") or settings.get("default-timeout") or "15"),
        "UV_HTTP_RETRIES": settings.get("retries") or "5",
    }
    for name, key in FOR_UV.items():
        if settings.get(key):
            variables[name] = _separator(name).join(settings[key].split())
    if is_true(settings.get("no-index", "")):
        variables["UV_NO_INDEX"] = "1"
    if is_true(settings.get("pre", "")):
        variables["UV_PRERELEASE"] = "allow"
    for new, old in (("UV_DEFAULT_INDEX", "UV_INDEX_URL"), ("UV_INDEX", "UV_EXTRA_INDEX_URL")):
        if old in environment:
            variables.pop(new, None)
    for name, value in environment.items():
        if name in UV_PATHS:
            variables[name] = _separator(name).join(map(_absolute, value.split(_separator(name))))
        elif name in variables:
            del variables[name]
    return variables


def _configuration_files(environment: Mapping[str, str], prefix: str) -> list[Path]:
    """Return the files that pip reads, the later winning."""
    home = Path(environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - it does not raise where there is no home
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    folders = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [
        *(Path(folder, "pip/pip.conf") for folder in folders.split(":")),
        *(Path("/etc/pip.conf"), home / ".pip/pip.conf"),
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip/pip.conf"),
        *(Path(prefix, "pip.conf"), Path(named or os.devnull)),
    ]


def _read(files: list[Path]) -> dict[str, str]:
    import configparser

    parser = configparser.RawConfigParser()
    for file in files:
        try:
            parser.read(file)
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            # Not the message, which quotes the line, which may hold a password.
            log.warning(f"{file} cannot be read ({type(error).__name__}) and is ignored. Correct it or remove it.")
    return {
        key.replace("_", "-"): value
        for section in ("global", "install")
        if parser.has_section(section)
        for key, value in parser.items(section)
    }


def _separator(name: str) -> str:
    return "," if name == "UV_FIND_LINKS" else " "


def _absolute(path: str) -> str:
    return path if "://" in path or not path or not Path(path).exists() else str(Path(path).absolute())


def _whole_seconds(text: str) -> str:
    """Return a time as uv wants it; pip takes fractions as well."""
    try:
        return str(math.ceil(float(text)))
    except (OverflowError, ValueError):
        return text
