"""What the pages for readers show: their code blocks, the commands in them, and commands in the running text."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.releases import REPOSITORY

DOCS = REPOSITORY / "docs"
TEMPLATE = REPOSITORY / "dkist_processing_core" / "project" / "template" / "README.rst"
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<kind>\w+)\n(?P<options>(?:(?P=indent) +:\w+:.*\n)*)"
    r"\n(?P<text>(?:(?P=indent) +\S.*\n|\s*\n)+)",
    re.MULTILINE,
)
LITERAL = re.compile(r"``([^`]+?)``", re.DOTALL)
SHELLS = {"bash", "console"}
ENDS = {";", "&&", "||", "|", "&", "(", ")"}
COMMENT = re.compile(r"(^|\s)#[^'\"\n]*$", re.MULTILINE)
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block of a page, with the number of its line."""

    page: Path
    line: int
    kind: str
    options: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    @property
    def script(self) -> str:
        """What a shell gets: of a transcript, the lines behind the prompt."""
        if self.kind == "bash":
            return self.text
        lines, is_continued = [], False
        for line in self.text.splitlines():
            if is_continued or line.startswith("$ "):
                lines.append(line if is_continued else line[2:])
                is_continued = line.endswith("\\")
        return "\n".join(lines) + "\n"


def pages() -> list[Path]:
    """Return every page that a reader of this project meets."""
    others = [REPOSITORY / "README.rst", REPOSITORY / "deploy" / "README.rst", TEMPLATE]
    written = (each for each in DOCS.rglob("*.rst") if DOCS / "_build" not in each.parents)
    return sorted([*written, *(REPOSITORY / "examples").glob("*/README.rst"), *others])


def blocks(*kinds: str) -> Iterator[Block]:
    """Yield the code blocks of all pages that are of some kinds."""
    for page in pages():
        text = page.read_text(encoding="utf-8") + "\n"
        for found in BLOCK.finditer(text):
            if found["kind"] in kinds:
                shown = textwrap.dedent(found["text"]).strip("\n") + "\n"
                yield Block(page, text.count("\n", 0, found.start()) + 1, found["kind"], found["options"], shown)


def simple_commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a shell script, without assignments and redirections."""
    text = COMMENT.sub("", script.replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>()\n")
    lexer.commenters, lexer.whitespace, lexer.whitespace_split = "", " \t\r", True
    tokens = iter([*lexer, ";"])
    words: list[str] = []
    for token in tokens:
        if token in ENDS or not token.strip("\n"):
            if words:
                yield words
            words = []
        elif token[0] in "<>":
            next(tokens)  # the file
            if words and words[-1].isdigit():
                words.pop()
        elif words or not ASSIGNMENT.fullmatch(token):
            words.append(token)


def table(text: str) -> list[list[str]]:
    """Return the cells of each row of the first list-table of a text, without its header."""
    rows = re.split(r"\n   \* - ", text.partition(".. list-table::")[2])[2:]
    return [[" ".join(cell.split()) for cell in re.split(r"\n     -", row.split("\n\n")[0])] for row in rows]


def quoted(text: str) -> list[str]:
    """Return what stands in double backquotes."""
    return re.findall(r"``([^`]+)``", text)


def literals() -> Iterator[tuple[str, str]]:
    """Yield each literal in the running text of the pages, in one line, with its place."""
    for page in pages():
        text = page.read_text(encoding="utf-8") + "\n"
        prose = BLOCK.sub(lambda found: "\n" * found[0].count("\n"), text)
        for found in LITERAL.finditer(prose):
            line = prose.count("\n", 0, found.start()) + 1
            yield f"{page.relative_to(REPOSITORY)}:{line}", " ".join(found[1].split())
