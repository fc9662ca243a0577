"""
The settings of pip, for both installers.

Runs in: worker. uv does not read pip's settings, and pip in a new environment does not read those of the Python that
made it. So they are read here and passed to both as environment variables.
"""

import math
import os
from collections.abc import Container, Mapping
from pathlib import Path

from dkist_processing_core.common.settings import is_true
from dkist_processing_core.worker import log

__all__ = ["for_pip", "for_uv", "installer_variables"]

FOR_UV = {
    "UV_DEFAULT_INDEX": "index-url",
    "UV_INDEX": "extra-index-url",
    "UV_FIND_LINKS": "find-links",
    "UV_CONSTRAINT": "constraint",
    "UV_BUILD_CONSTRAINT": "build-constraint",
    "UV_INSECURE_HOST": "trusted-host",
    "UV_EXCLUDE_NEWER": "uploaded-prior-to",
    "SSL_CLIENT_CERT": "client-cert",
}
FLAGS_FOR_UV = {
    "pre": {"UV_PRERELEASE": "allow"},
    "require-hashes": {"UV_REQUIRE_HASHES": "1"},
}
# "uv pip" has no variables for these.
ARGUMENTS_FOR_UV = ("config-settings", "no-binary", "no-deps", "no-index", "only-binary")
ALIASES = {
    "config-setting": "config-settings",
    "default-timeout": "timeout",
    "no-dependencies": "no-deps",
    "pypi-url": "index-url",
    "require-venv": "require-virtualenv",
}
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # the first that is set counts, even before "cert"
# Paths of the system's trusted certificates in Linux distributions. pip uses these by default since 24.2.
SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
TRUST_SYSTEM = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}  # the second is the older name
OWN_TRUST = {*TRUST_SYSTEM, "SSL_CERT_DIR", "SSL_CERT_FILE"}
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
# The installers run in another folder, in which a relative path would name another file.
UV_PATHS = frozenset(
    {"UV_BUILD_CONSTRAINT", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_FIND_LINKS", "UV_OVERRIDE"}
)
PIP_PATHS = ("build-constraint", "cert", "client-cert", "constraint", "find-links")
OTHER_PATHS = (*CERTIFICATES, "SSL_CERT_DIR", "SSL_CERT_FILE", "SSL_CLIENT_CERT", "UV_CACHE_DIR", "TMPDIR")
# With these, something other than the release would be installed, or in another place, or nothing.
NOT_FOR_PIP = frozenset(
    {
        *("abi", "dry-run", "editable", "group", "help", "implementation", "isolated", "platform", "prefix", "python"),
        *("python-version", "report", "requirement", "requirements-from-script", "require-virtualenv", "root"),
        *("target", "user", "version", "only-deps", "only-dependencies"),
    }
)
NOT_FOR_UV = frozenset(
    {
        *("UV_PROJECT", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_VENV_CLEAR", "UV_VENV_RELOCATABLE", "UV_VENV_SEED"),
        *("UV_WORKING_DIR", "UV_WORKING_DIRECTORY"),
    }
)


def installer_variables(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """
    Return the environment variables of the installer, uv or pip: those of the worker, and pip's settings.

    Variables of uv itself take precedence. ``prefix`` is the folder of the Python whose ``pip.conf`` is read.
    """
    settings = _pip_settings(environment, prefix)
    inherited = {
        name: _absolute(value) if name in OTHER_PATHS else value
        for name, value in environment.items()
        if not name.startswith("PIP_") and name not in NOT_FOR_UV and (value or not name.startswith("UV_"))
    }
    variables = {**inherited, **_for_uv(settings, inherited)}
    if bundle := _certificates(settings, inherited):
        # pip then trusts no other certificates.
        for name in ("SSL_CERT_DIR", "SSL_CERT_FILE"):
            variables.pop(name, None)
        variables["SSL_CERT_DIR" if os.path.isdir(bundle) else "SSL_CERT_FILE"] = bundle  # noqa: PTH112 - does not raise
    elif _trusts_system(settings) and not OWN_TRUST & variables.keys():
        variables |= TRUST_SYSTEM
    if proxy := settings.get("proxy"):
        # pip then ignores the variables, even NO_PROXY.
        variables = {name: value for name, value in variables.items() if name.lower() != "no_proxy"}
        address = proxy if "://" in proxy else f"http://{proxy}"
        variables |= dict.fromkeys((*PROXIES, *map(str.upper, PROXIES)), address)
    for_pip = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items()}
    # pip's configuration files have already been read.
    return {**variables, **for_pip, "PIP_CONFIG_FILE": os.devnull}


def for_pip(variables: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that are passed to pip, and pip's settings that are not."""
    names = {name: _key(name) for name in variables if name.startswith("PIP_")}
    ignored = sorted(key for key in names.values() if key in NOT_FOR_PIP)
    return {name: value for name, value in variables.items() if names.get(name) not in NOT_FOR_PIP}, ignored


def for_uv(variables: Mapping[str, str], *, decided: Container[str] = ()) -> tuple[list[str], list[str]]:
    """
    Return the arguments of ``uv pip install`` for pip's settings, and pip's settings that are not passed to uv.

    Options that the caller itself passes (``decided``), such as ``no-deps``, are left out, since uv accepts each only
    once.
    """
    settings = {_key(name): value for name, value in variables.items() if name.startswith("PIP_")}
    del settings["config-file"]
    arguments = []
    for key in ARGUMENTS_FOR_UV:
        value = "" if key in decided else settings.get(key, "")
        if key in {"no-deps", "no-index"}:
            arguments += [f"--{key}"] if is_true(value) else []
        elif key == "config-settings":
            arguments += [f"--config-setting={value}"] if value else []
        else:
            arguments += [f"--{key}={each}" for each in value.replace(",", " ").split()]
    given = {*FOR_UV.values(), *FLAGS_FOR_UV, *ARGUMENTS_FOR_UV, "cert", "proxy", "retries", "timeout"}
    given |= {"use-deprecated"} if settings.get("use-deprecated") == "legacy-certs" else set()
    given |= {key for key in ("keyring-provider", "no-build-isolation", "use-feature") if _translated(key, settings)}
    return arguments, sorted(set(settings) - given)


def _pip_settings(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return pip's settings for an installation, from its files and from the environment, which takes precedence."""
    files = [each for each in _configuration_files(environment, prefix) if os.path.isfile(each)]  # noqa: PTH113 - does not raise
    settings = _read(files) if files else {}
    # The usual name of an option takes precedence over its aliases.
    for name in sorted(
        environment, key=lambda name: name.removeprefix("PIP_").lower().replace("_", "-") not in ALIASES
    ):
        if name.startswith("PIP_") and environment[name] and name != "PIP_CONFIG_FILE":
            settings[_key(name)] = environment[name]
    for key in PIP_PATHS:
        if key in settings:
            settings[key] = " ".join(map(_absolute, settings[key].split()))
    return settings


def _key(name: str) -> str:
    """Return the option of pip that is set by a variable or by a key in a file."""
    key = name.removeprefix("PIP_").lower().replace("_", "-")
    return ALIASES.get(key, key)


def _for_uv(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make uv follow pip's settings."""
    variables = {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_HTTP_TIMEOUT": _whole_seconds(settings.get("timeout") or "15"),
        "UV_HTTP_RETRIES": settings.get("retries") or "5",
    }
    for name, key in FOR_UV.items():
        if settings.get(key):
            variables[name] = _separator(name).join(settings[key].split())
    for key, flag in FLAGS_FOR_UV.items():
        if is_true(settings.get(key, "")):
            variables |= flag
    for key in ("keyring-provider", "no-build-isolation", "use-feature"):
        variables |= _translated(key, settings)
    for new, old in (("UV_DEFAULT_INDEX", "UV_INDEX_URL"), ("UV_INDEX", "UV_EXTRA_INDEX_URL")):
        if old in environment:
            variables.pop(new, None)
    own = {name: environment[name] for name in environment if name in variables or name in UV_PATHS}
    for name in own.keys() & UV_PATHS:
        own[name] = _separator(name).join(map(_absolute, own[name].split(_separator(name))))
    return {**variables, **own}


def _translated(key: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of uv for a setting of which uv supports only some values."""
    value = settings.get(key, "").strip()
    if key == "keyring-provider" and value in {"disabled", "subprocess"}:
        return {"UV_KEYRING_PROVIDER": value}
    # pip interprets this value the wrong way round.
    if key == "no-build-isolation" and value.lower() in {"n", "no", "f", "false", "off", "0"}:
        return {"UV_NO_BUILD_ISOLATION": "1"}
    if key == "use-feature" and value == "truststore":
        return TRUST_SYSTEM
    return {}


def _certificates(settings: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Return the file or folder with the certificates that pip trusts; empty for pip's default."""
    # With its own setting of a proxy, pip ignores these variables.
    variables = () if settings.get("proxy") else CERTIFICATES
    return next(filter(None, map(environment.get, variables)), "") or settings.get("cert", "")


def _trusts_system(settings: Mapping[str, str]) -> bool:
    """Return whether pip uses the system's trusted certificates, and the system has such a file."""
    is_legacy = "legacy-certs" in settings.get("use-deprecated", "").split()
    return not is_legacy and any(map(os.path.isfile, SYSTEM_CERTIFICATES))


def _configuration_files(environment: Mapping[str, str], prefix: str) -> list[Path]:
    """Return the configuration files of pip; later ones take precedence."""
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
        its = configparser.RawConfigParser()  # one per file, since a broken file leaves incomplete values behind
        try:
            its.read(file)
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            # Without the message, since it quotes the line, which may contain a password.
            log.warning(f"{file} cannot be read ({type(error).__name__}) and is ignored. Correct it or remove it.")
        else:
            parser.read_dict(its)
    return {
        _key(key): value
        for section in ("global", "install")
        if parser.has_section(section)
        for key, value in parser.items(section)
    }


def _separator(name: str) -> str:
    return "," if name == "UV_FIND_LINKS" else " "


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if os.path.exists(path) else path  # noqa: PTH110 - does not raise


def _whole_seconds(text: str) -> str:
    """Return a time in whole seconds, as uv requires; pip also accepts fractions."""
    try:
        return str(math.ceil(float(text)))
    except (OverflowError, ValueError):
        return text
