"""
Describe an environment that was just built: what it contains, where this came from, and how it was built.

Runs in: worker.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from dkist_processing_core.common.atomic import write_text
from dkist_processing_core.common.checkouts import checkout_state
from dkist_processing_core.common.environment import DESCRIPTION, SCHEMA_VERSION, identity_of
from dkist_processing_core.common.redaction import without_credentials
from dkist_processing_core.worker.checkout import normalized
from dkist_processing_core.worker.key import requirements
from dkist_processing_core.worker.request import EnvironmentRequest

__all__ = ["Installation", "address", "write_description"]

# Settings that contain no credentials except in URLs.
INDEX_SETTINGS = {
    "uv": (
        *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY"),
        *("UV_NO_INDEX", "PIP_NO_INDEX", "UV_EXCLUDE_NEWER"),
    ),
    "pip": ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_UPLOADED_PRIOR_TO"),
}
QUERY = re.compile(r"(?<=\S)\?[^\s,]*")
CONSTRAINT_SETTINGS = {"uv": "UV_CONSTRAINT", "pip": "PIP_CONSTRAINT"}


class Installation(NamedTuple):
    """How an environment was built: installer, its version, start (`time.monotonic`), and pip's reports, if any."""

    installer: str
    version: str
    began: float
    reports: Sequence[Mapping[str, Any]]


def write_description(
    environment: Path, request: EnvironmentRequest, variables: Mapping[str, str], installation: Installation
) -> str:
    """
    Complete ``environment.json``, which already contains the inventory of `worker.inventory`.

    ``variables`` are those of the installer. The file is on the disk when this function returns the identity.
    """
    inventory = json.loads((environment / DESCRIPTION).read_text(encoding="utf-8"))
    downloads = {normalized(each["metadata"]["name"]): each["download_info"] for each in installation.reports}
    installer = installation.installer
    description = {
        "schema_version": SCHEMA_VERSION,
        "identity": "",
        "requirement": request.requirement,
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - installation.began, 3),
        "interpreter": inventory["interpreter"],
        "platform": inventory["platform"],
        "installer": {"name": installer, "version": installation.version},
        "index": {name: address(variables[name]) for name in INDEX_SETTINGS[installer] if variables.get(name)},
        "constraints": _constraints(request, variables.get(CONSTRAINT_SETTINGS[installer], "")),
        "distributions": [
            _distribution(
                each,
                downloads.get(each["name"], {}),
                is_checkout=bool(request.dev_project and each["name"] == request.name),
            )
            for each in inventory["distributions"]
        ],
        "other_files": inventory["other_files"],
        "other_sha256": inventory["other_sha256"],
    }
    description["identity"] = identity = identity_of(description)
    write_text(environment / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    return identity


def _distribution(found: Mapping[str, Any], download: Mapping[str, Any], *, is_checkout: bool) -> dict[str, Any]:
    """Return the entry of a distribution; ``download`` is its entry in pip's report."""
    direct_url = found["direct_url"] or {}
    archive = direct_url or download
    hashes = archive.get("archive_info", {}).get("hashes") or {}
    is_wheel = _path(archive.get("url", "")).endswith(".whl")
    return {
        "name": found["name"],
        "version": found["version"],
        "origin": _origin(direct_url, download.get("url", ""), is_checkout=is_checkout),
        "record_sha256": found["record_sha256"],
        "wheel_sha256": hashes.get("sha256") if is_wheel else None,
        "files_sha256": found["files_sha256"],
    }


def _origin(direct_url: Mapping[str, Any], downloaded: str, *, is_checkout: bool) -> dict[str, Any] | None:
    """Return the origin of a distribution; None if it is unknown, since uv does not record the index."""
    if is_checkout and direct_url.get("dir_info", {}).get("editable"):
        path = _path(direct_url["url"])
        return {"checkout": {"path": path, **checkout_state(Path(path))._asdict()}}
    if direct_url:
        return {"direct_url": {**direct_url, "url": address(direct_url["url"])}}
    return {"url": address(downloaded)} if downloaded else None


def address(text: str) -> str:
    """Remove possible secrets from the URLs in a text: user, password, and the query, which may contain a signature."""
    return QUERY.sub("", without_credentials(text))


def _path(url: str) -> str:
    return unquote(urlsplit(url).path)


def _constraints(request: EnvironmentRequest, files: str) -> list[str]:
    """Return the constraints of the workflow and, unless it has a lock, those in the files of the worker."""
    texts = [request.constraints]
    if not request.is_locked:
        texts += [text for each in files.split() for text in requirements(each)]
    lines = (line.strip() for text in texts for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]
