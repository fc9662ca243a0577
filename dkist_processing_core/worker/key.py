"""
The name of an environment in the cache, with a hash over everything that determines its contents.

Runs in: worker.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from dkist_processing_core.common.redaction import without_credentials
from dkist_processing_core.worker.checkout import deciding_files
from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError
from dkist_processing_core.worker.request import EnvironmentRequest

__all__ = ["environment_name", "requirements"]

INSTALLER_PREFIXES = ("PIP_", "UV_")
# Settings of installers that determine only how files are downloaded and written. All other settings, also those of
# later releases of the installers, determine what is installed.
NOT_IN_KEY = re.compile(
    r"CACHE|CERT|COLOR|COMPILE|CONCURRENT|CREDENTIALS|DEBUG|EXISTS_ACTION|HOST|INPUT|KEYRING|LINK_MODE|LOCK_TIMEOUT"
    r"|LOG|NATIVE_TLS|NO_CLEAN|NO_WARN|NO_WRAP|OFFLINE|PASSWORD|PROGRESS|PROXY|PUBLISH|PYTHON_|QUIET|RETRIES"
    r"|ROOT_USER|SHOW_|STACK_SIZE|TIMEOUT|TOKEN|TOOL_|USERNAME|VERBOSE|VERSION_CHECK"
)
FILES_OF_REQUIREMENTS = (
    *("PIP_BUILD_CONSTRAINT", "PIP_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_OVERRIDE"),
)
NAMING_FILES = frozenset({*FILES_OF_REQUIREMENTS, "PIP_CONFIG_FILE", "UV_CONFIG_FILE"})
# A constraints file may include another one.
INCLUDE = re.compile(r"^\s*(?:-[cr]\s*|--(?:constraint|requirement)[ =]\s*)(\S+)", re.MULTILINE)


def environment_name(request: EnvironmentRequest, interpreter: list[str], settings: Mapping[str, str]) -> str:
    """
    Return the name of the folder of an environment.

    ``interpreter`` identifies the Python of the environment. ``settings`` are the environment variables of the
    installer; user names and passwords in them do not affect the name.
    """
    parts: dict[str, object] = {
        "name": request.name,
        "version": request.version,
        "extras": request.extras,
        "interpreter": interpreter,
        "settings": {key: without_credentials(value) for key, value in settings.items() if _is_in_key(key)},
        "constraints": request.constraints.split("\n"),
        "files": {key: [requirements(each) for each in settings.get(key, "").split()] for key in FILES_OF_REQUIREMENTS},
        "uv": [_content(str(file)) for file in _uv_files(settings) if os.path.isfile(file)],  # noqa: PTH113 - does not raise
    }
    if request.dev_project:
        files = deciding_files(request.dev_project)
        parts["dev"] = [str(request.dev_project), {str(each): _content(str(each)) for each in files}]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{request.name}-{request.version}-{digest}"


def _is_in_key(name: str) -> bool:
    """Return whether the value of a variable determines what is installed. For a file, its content does instead."""
    return name.startswith(INSTALLER_PREFIXES) and name not in NAMING_FILES and not NOT_IN_KEY.search(name)


def requirements(path: str, including: tuple[str, ...] = ()) -> list[str]:
    """Return the text of a requirements file, and of all files that it includes."""
    text = _content(path)
    found = [text]
    for name in INCLUDE.findall(text) if path not in including else ():
        found += requirements(name if "://" in name else str(Path(path).parent / name), (*including, path))
    return found


def _uv_files(settings: Mapping[str, str]) -> list[Path]:
    """Return uv's own configuration files: the configured one, or those of the machine and of the user."""
    if named := settings.get("UV_CONFIG_FILE"):
        return [Path(named)]
    user = settings.get("XDG_CONFIG_HOME") or Path(settings.get("HOME") or os.path.expanduser("~"), ".config")  # noqa: PTH111 - it does not raise where there is no home
    machine = (settings.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    return [*(Path(each, "uv/uv.toml") for each in machine), Path("/etc/uv/uv.toml"), Path(user, "uv/uv.toml")]


def _content(path: str) -> str:
    """Return the text of a file without credentials; for a URL, the URL itself."""
    if "://" in path:
        return without_credentials(path)
    try:
        return without_credentials(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkerError(
            MISCONFIGURED,
            f"{path}, which decides what is installed, cannot be read: {error}. Correct the setting that names it.",
        ) from error
