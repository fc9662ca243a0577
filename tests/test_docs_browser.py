"""The built documentation in a real browser: nothing comes from outside, the search finds, and no link is broken."""

import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.releases import REPOSITORY

from dkist_processing_core.common.programs import run_program

pytest.importorskip(
    "pydata_sphinx_theme", reason="the tools of the documentation are not installed (pip install '.[docs]')"
)

bs4 = pytest.importorskip("bs4")  # which the theme brings

PAGES = ["index", "tutorial/first_package", "how-to/operate", "how-to/deploy", "reference/environment_variables"]
# What a reader looks for, and a page that must be among what is found.
SEARCHES = {
    "debug": "how-to/write_package.html",
    "resume": "how-to/local_runs.html",
    "test": "reference/testing.html",
    "log": "reference/logging.html",
    "137": "how-to/operate.html",
    "69": "how-to/operate.html",
}
SECONDS = 300


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The documentation, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "html"
    options = ["--fail-on-warning", "--keep-going", "--quiet"]
    command = [sys.executable, "-m", "sphinx", *options, str(REPOSITORY / "docs"), str(folder)]
    status, output = run_program(command, environment=os.environ, seconds=SECONDS)
    assert (status, output.strip()) == (0, "")
    return folder


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_outside(chromium, html, name, is_dark):
    """All that it loads is beside it, in light and dark; and no line of it is wider than a narrow window."""
    chromium.forget()
    chromium.show(width=420, height=800, is_dark=is_dark)
    chromium.open(html / f"{name}.html")
    assert chromium.value("document.documentElement.dataset.theme") == ("dark" if is_dark else "light")
    assert chromium.value("document.documentElement.scrollWidth") <= 420
    assert chromium.errors == []
    assert chromium.requests
    assert [each for each in chromium.requests if not each.startswith(html.as_uri())] == []


@pytest.mark.parametrize(("word", "page"), SEARCHES.items(), ids=SEARCHES)
def test_the_search_finds(chromium, html, word, page):
    """The page that a reader looks for is among what the search lists."""
    chromium.open(html / "search.html", f"?q={word}")
    found = chromium.value(
        "new Promise((done, late) => { const end = Date.now() + 20000; const look = () => {"
        " const links = [...document.querySelectorAll('#search-results li a')].map(each => each.href);"
        " /found|matching/.test(document.querySelector('#search-results').innerText) && links.length ? done(links)"
        " : Date.now() > end ? late('nothing') : setTimeout(look, 50) }; look() })"
    )
    assert page in {Path(urlsplit(each).path).relative_to(html).as_posix() for each in found}


def values(page, *names):
    """Return the values of some attributes in a page."""
    return {each[name] for name in names for each in page.select(f"[{name}]") if each[name]}


def test_every_link_leads_to_a_file_and_a_place_in_it(html):
    """Of all pages; addresses elsewhere are not followed, but must be https."""
    files = (file for file in html.rglob("*.html") if "_static" not in file.parts)
    pages = {file: bs4.BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in files}
    places = {file: values(page, "id", "name") for file, page in pages.items()}
    broken = []
    for file, page in pages.items():
        for link in values(page, "href", "src"):
            address = urlsplit(link)
            if address.scheme:
                if address.scheme not in {"https", "data", "javascript", "mailto"}:
                    broken.append((file.name, link))
                continue
            target = (file.parent / unquote(address.path)).resolve() if address.path else file
            if not target.exists() or (address.fragment and target in pages and address.fragment not in places[target]):
                broken.append((str(file.relative_to(html)), link))
    assert broken == []


def test_every_picture_has_an_alternative_text():
    """A reader who cannot see it knows what it shows."""
    pages = [REPOSITORY / "README.rst", *(REPOSITORY / "docs").rglob("*.rst")]
    directive = re.compile(r"^\.\. (?:image|figure):: (\S+)\n((?:   +.*\n)*)", re.MULTILINE)
    found = [(page.name, *match) for page in pages for match in directive.findall(page.read_text(encoding="utf-8"))]
    assert found
    assert [each[:2] for each in found if not re.search(r":alt: \S.{20}", each[2])] == []
