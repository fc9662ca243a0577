"""
A file in a DAG folder: which workflows it contains, and whether all of it was exported by this library.

Runs in: terminal of the scheduler's machine. No file is executed.
"""

import ast
import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dkist_processing_core.exceptions import NeededEnvironmentsError
from dkist_processing_core.rendering.dag import is_generated
from dkist_processing_core.worker.needed import Exported, exported_in, sources

__all__ = ["DagFile", "fingerprint", "read"]

SCHEDULING = "dkist_processing_core.scheduling"
FOREIGN = "not exported by this library"
# Besides imports, blocks and calls, which are checked more closely.
STATEMENTS = (ast.Module, ast.Assign, ast.Expr)
PARTS = (ast.alias, ast.withitem, ast.keyword, ast.expr_context)
VALUES = (ast.Name, ast.Subscript, ast.Dict, ast.List, ast.Tuple, ast.Constant, ast.UnaryOp, ast.USub)


@dataclass(frozen=True, kw_only=True)
class DagFile:
    """An exported file; ``path`` is relative to the DAG folder."""

    path: str
    fingerprint: str
    workflows: tuple[Exported, ...]

    @property
    def dag_ids(self) -> list[str]:
        """Ids of the DAGs that Airflow finds in the file."""
        return [f"{each.name}_{each.version}" for each in self.workflows]

    @property
    def releases(self) -> set[str]:
        """The releases that the tasks in the file install."""
        return {f"{each.distribution}=={each.version}" for each in self.workflows}


def fingerprint(path: Path) -> str:
    """Return a text that identifies the state of a file: the digest of its content, or the target of a link."""
    if path.is_symlink():
        return f"link:{path.readlink()}"
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def read(folder: Path, path: Path) -> DagFile | str:
    """Return the exported workflows in a file, or the reason why it does not count as an exported file."""
    try:
        found = fingerprint(path)
        texts = sources(path)
        if not texts:
            return FOREIGN
        if path.suffix == ".zip" and len(texts) != _modules(path):
            return "an archive with files that were not exported by this library"
        workflows = [each for name, text in texts for each in exported_in(name, text)]
        if not (workflows and all(_is_as_exported(text) for _, text in texts)):
            return "not as exported: it contains other statements, or was written by hand"
    except NeededEnvironmentsError as error:
        return error.what
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return DagFile(path=os.path.relpath(path, folder), fingerprint=found, workflows=tuple(workflows))


def _modules(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(each.endswith(".py") for each in archive.namelist())


def _is_as_exported(text: str) -> bool:
    """Return whether a text contains only what an export writes; otherwise it might define further DAGs."""
    return is_generated(text.encode(errors="replace")) and all(map(_is_exported_node, ast.walk(ast.parse(text))))


def _is_exported_node(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        is_ours = f"{node.module}.".startswith(f"{SCHEDULING}.") and not node.level
        return is_ours and not any(each.asname or each.name == "*" for each in node.names)
    if isinstance(node, ast.With):
        calls = [each.context_expr for each in node.items]
        return all(isinstance(each, ast.Call) and getattr(each.func, "id", "") == "workflow_dag" for each in calls)
    if isinstance(node, ast.Call):  # of an operator, of `workflow_dag`, or of a method
        called = getattr(node.func, "id", "")
        return called == "workflow_dag" or called.endswith("TaskOperator") or isinstance(node.func, ast.Attribute)
    if isinstance(node, ast.Attribute):
        return node.attr == "set_upstream"
    return isinstance(node, STATEMENTS + PARTS + VALUES)
