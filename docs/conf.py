"""The configuration of Sphinx. `make docs` needs no network and treats warnings as errors."""

import inspect
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

import click
from docutils import nodes
from sphinx.search.en import SearchEnglish
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

REPOSITORY = Path(__file__).parent.parent

project = "dkist-processing-core"
author = "The dkist-processing-core developers"
copyright = author
release = installed_version(project)
version = release

extensions = ["sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["_build", "examples"]
default_role = "py:obj"
nitpicky = True
# Names in docstrings that are not part of the public interface.
nitpick_ignore = [("py:obj", "environment"), ("py:obj", "OPERATORS")]
# Names of the standard library and of dependencies. Without the network, there is nothing to link them to.
nitpick_ignore_regex = [
    # Our types in signatures. The page "Python API" describes their attributes where they are used.
    (
        r"py:.*",
        r"(.*\.)?(Envelope|Fault|ForkserverProcess|NodeSpec|Producer|Span|TaskOperator|VirtualenvTaskOperator|WorkflowSpec)",
    ),
    (r"py:.*", r"(ast|collections|contextlib|datetime|enum|logging|pathlib|types|typing)\..*"),
    (r"py:.*", r"(airflow|pydantic|pydantic_settings)\..*"),
    (r"py:.*", r"[A-Z]\w*(Error|Exception|Exit)|BashOperator|DAG|PythonVirtualenvOperator"),
    (r"py:.*", r"AbstractContextManager|Any|Callable|Iterator|Mapping|Path"),
    (r"py:.*", r"str|int|float|bool|bytes|dict|list|tuple|set|type|object|None|self|repr|json\.dumps|shlex\.quote"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_validation_checks = set()

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": project},
    "navbar_align": "left",
    "header_links_before_dropdown": 4,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "article_header_start": ["breadcrumbs"],
}
# Without it, the theme logs a warning to the browser's console on the first page.
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"{project} {release}"
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False


class Changes(SphinxDirective):
    """The unreleased changes, from their fragments, followed by the changelog of the releases."""

    def run(self) -> list[nodes.Node]:
        """Put the text where the directive stands, headings included."""
        draft = "towncrier build --draft --date unreleased --version"
        command = [sys.executable, "-m", *draft.split(), "Next release"]
        text = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        changelog = REPOSITORY / "CHANGELOG.rst"
        if changelog.exists():
            text += "\n\n" + changelog.read_text(encoding="utf-8")
        self.state_machine.insert_input(text.splitlines(), str(changelog))
        return []


class CommandLine(SphinxDirective):
    """The program and all its commands, with usage, help and options from the parser."""

    def run(self) -> list[nodes.Node]:
        """Put the text where the directive stands, headings included."""
        from dkist_processing_core.cli import root

        for source in Path(root.__file__).parent.glob("*.py"):
            self.env.note_dependency(str(source))
        context = click.Context(root.root, info_name=project, **root.root.context_settings)
        self.state_machine.insert_input(list(described(root.root, context)), root.__file__)
        return []


class SearchWithNumbers(SearchEnglish):
    """Sphinx's search for English, which also finds numbers, such as the exit status that a message contains."""

    # The search drops each query term that matches a number, so a number becomes a string that matches nothing.
    js_splitter_code = r"""
var splitQuery = function (query) {
  const terms = query.match(/[\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/gu) || [];
  return terms.map(function (term) {
    return /^\d+$/.test(term) ? Object.assign(new String(term), { match: function () { return null; } }) : term;
  });
};
"""

    def word_filter(self, word):
        """Return whether a word belongs in the index. Sphinx itself excludes numbers."""
        return word.isdigit() or super().word_filter(word)


def described(command, context):
    """Yield the lines about a command and its subcommands."""
    program = context.command_path
    yield from (f"``{program}``", "-" * (len(program) + 4), "")
    usage = " ".join([program, *command.collect_usage_pieces(context)])
    yield from ("::", "", f"    {usage}", "")
    # Lines that click must not wrap become a literal block.
    text = inspect.cleandoc(command.help or "").replace("\b\n", "::\n\n")
    yield from (*text.splitlines(), "", f".. program:: {program}", "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1]:
            yield from (f".. option:: {record[0]}", "", f"   {record[1]}", "")
    for name in sorted(command.list_commands(context) if isinstance(command, click.Group) else ()):
        child = command.get_command(context, name)
        yield from described(child, click.Context(child, info_name=name, parent=context))


def find_by_last_name(app, env, node, content):
    """Resolve a short name in a docstring, such as `TaskBase`, wherever it is defined, if it is unambiguous."""
    python = env.get_domain("py")
    if node.get("refdomain") != "py":
        return None
    # A class that is documented under its public path has a second entry under the module that defines it.
    matches = {
        entry.node_id: (name, entry) for name, entry in python.find_obj(env, None, None, node["reftarget"], None, 1)
    }
    if len(matches) != 1:
        return None
    [(name, entry)] = matches.values()
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def setup(app):
    """Register the directives, the search and the resolver."""
    app.add_directive("changes", Changes)
    app.add_directive("command-line", CommandLine)
    app.add_search_language(SearchWithNumbers)
    app.connect("missing-reference", find_by_last_name)
    return {"parallel_read_safe": True}
