"""
The name that an environment has in the cache: a hash over everything that decides what it contains.

Runs in: worker.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from dkist_processing_core.common.redaction import without_credentials
from dkist_processing_core.worker.errors import MISCONFIGURED, WorkerError
from dkist_processing_core.worker.request import Request

__all__ = ["environment_name"]

# What decides which files a requirement resolves to.
INDEX_SETTINGS = (
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_INDEX_STRATEGY", "UV_PRERELEASE", "UV_RESOLUTION", "UV_EXCLUDE_NEWER"),
)
FILE_SETTINGS = ("UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_OVERRIDE")


def environment_name(request: Request, interpreter: list[str], settings: Mapping[str, str]) -> str:
    """
    Return the name of the folder of an environment.

    ``interpreter`` identifies the Python that it is built with, ``settings`` are the environment variables of the
    installer. User names and passwords in them do not count.
    """
    parts: dict[str, object] = {
        "name": request.name,
        "version": request.version,
        "extras": request.extras,
        "interpreter": interpreter,
        "index": {key: without_credentials(settings.get(key, "")) for key in INDEX_SETTINGS},
        "constraints": request.constraints.split("\n"),
        "files": {key: [_content(each) for each in settings.get(key, "").split()] for key in FILE_SETTINGS},
        "uv": [_content(str(file)) for file in _uv_files(settings) if file.is_file()],
    }
    if request.dev_project:
        parts["dev"] = [str(request.dev_project), _content(str(request.dev_project / "pyproject.toml"))]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{request.name}-{request.version}-{digest}"


def _uv_files(settings: Mapping[str, str]) -> list[Path]:
    """Return uv's own configuration files: the one that is named, or those of the machine and of the user."""
    if named := settings.get("UV_CONFIG_FILE"):
        return [Path(named)]
    user = settings.get("XDG_CONFIG_HOME") or Path(settings.get("HOME") or os.path.expanduser("~"), ".config")  # noqa: PTH111 - it does not raise where there is no home
    return [Path("/etc/uv/uv.toml"), Path(user, "uv/uv.toml")]


def _content(path: str) -> str:
    """Return the text of a file without credentials; an address stands for itself."""
    if "://" in path:
        return without_credentials(path)
    try:
        return without_credentials(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkerError(
            MISCONFIGURED,
            f"{path}, which decides what is installed, cannot be read: {error}. Correct the setting that names it.",
        ) from error
