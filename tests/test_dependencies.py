"""The table of the libraries that this one builds upon: docs/reference/dependencies.rst."""

import ast
import sys
import tomllib

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from support.releases import REPOSITORY
from support.shown import quoted, table

PAGE = REPOSITORY / "docs" / "reference" / "dependencies.rst"
PACKAGE = REPOSITORY / "dkist_processing_core"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
FOR_USERS = ("airflow", "build", "otel")
# Modules whose documentation describes names with an underscore.
DOCUMENTED = {"os", "sys"}
# Public names of named tuples.
NOT_PRIVATE = {"_asdict", "_fields", "_replace"}


def required():
    """Return the allowed versions of each distribution that users get."""
    lines = [
        *PROJECT["dependencies"],
        *(line for extra in FOR_USERS for line in PROJECT["optional-dependencies"][extra]),
    ]
    found = {}
    for requirement in map(Requirement, lines):
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return found


def private_names(tree):
    """Return the private names that a module uses of objects whose class it does not define, with their lines."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    own |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    used = {
        node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in DOCUMENTED
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("dkist_processing_core"):
            used |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            used |= {part for alias in node.names for part in alias.name.split(".")}
    return {name for name in used - own - NOT_PRIVATE if name.startswith("_") and not name.startswith("__")}


def test_the_table_has_what_users_get():
    """Each distribution of the base and of the extras for users, with the versions of pyproject.toml; and no other."""
    stated = {quoted(row[0])[0]: {str(SpecifierSet("".join(quoted(row[1]))))} for row in table(PAGE.read_text())}
    assert stated == required()


def test_what_is_used_beyond_an_interface_has_a_module_and_a_test():
    """Or nothing is, and then neither of them is named."""
    for distribution, _, use, places in table(PAGE.read_text()):
        modules = [name for name in quoted(places) if "::" not in name]
        tests = [name for name in quoted(places) if "::" in name]
        assert (use.split(";")[0] == "nothing") == (not modules) == (not tests), distribution


def test_what_the_page_names_exists():
    """Modules of the package, and tests."""
    for name in quoted(PAGE.read_text()):
        if "::" in name:
            file, _, test = name.partition("::")
            tree = ast.parse((REPOSITORY / "tests" / file).read_text())
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
        elif name.endswith(".py"):
            assert (PACKAGE / name).is_file(), name


def test_a_private_name_of_another_library_is_on_the_page():
    """With the module that uses it."""
    mentioned = {part for name in quoted(PAGE.read_text()) for part in (name, *name.split("."))}
    found = {file: private_names(ast.parse(file.read_text())) for file in PACKAGE.rglob("*.py")}
    assert len(set().union(*found.values())) >= 5
    missing = {
        (str(path), name)
        for file, used in found.items()
        for path in [file.relative_to(PACKAGE)]
        for name in used
        if not {name, str(path)} <= mentioned
    }
    assert missing == set()


def test_every_library_that_is_imported_is_required():
    """By the base or an extra; what one of these requires itself is named here, with the reason."""
    by_others = {
        "sqlalchemy": "Airflow stores its pools with it",
        "structlog": "Airflow 3 logs with it",
        "talus": "client packages bring it",
    }
    modules = {"airflow": "apache-airflow", "elasticapm": "elastic-apm", "opentelemetry": "opentelemetry-sdk"}
    imported = set()
    for file in PACKAGE.rglob("*.py"):
        if "template" in file.parts:
            continue  # belongs to the package that is made from it
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    others = imported - set(sys.stdlib_module_names) - {PACKAGE.name} - set(by_others)
    assert {modules.get(name, canonicalize_name(name)) for name in others} <= set(required())
