"""A real browser, Debian's Chromium, without a display and without a network, driven by Playwright."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request

# Root has no sandbox; the resolver knows no host but this one, so that a request would fail as well as be seen.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


class UnavailableError(Exception):
    """Chromium or Playwright is not installed."""


class Browser:
    """
    One page of a browser.

    ``requests`` are the addresses that it has asked for, ``errors`` what its console says of errors.
    """

    def __init__(self, page: "Page") -> None:
        self._page = page
        self._protocol = page.context.new_cdp_session(page)
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        page.on("request", self._note_request)
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note_request(self, request: "Request") -> None:
        if request.url != "about:blank":
            self.requests.append(request.url)

    def _note_message(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "assert", "warning"}:
            self.errors.append(message.text)

    def forget(self) -> None:
        """Begin with an empty page, and forget what was asked for and complained about before."""
        self.show(width=1280, height=800)
        self._page.goto("about:blank")
        self.requests.clear()
        self.errors.clear()

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the Chrome DevTools Protocol, and return its result."""
        return self._protocol.send(method, parameters)

    def open(self, page: Path | str, fragment: str = "", *, script: bool = True) -> float:
        """Open a file or an address; return after how many seconds it was loaded and, if it may run scripts, drawn."""
        self._page.goto("about:blank")
        began = time.monotonic()
        self._page.goto((page.as_uri() if isinstance(page, Path) else page) + fragment)
        if script:
            self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return time.monotonic() - began

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return self._page.evaluate(expression)

    def press(self, *keys: str) -> None:
        """Press keys, by their names in DOM such as ``ArrowDown``."""
        for key in keys:
            self._page.keyboard.press(key)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        self._page.click(selector)

    def show(self, *, width: int, height: int, is_dark: bool = False) -> None:
        """Set the size of the window, and whether the person prefers dark colours."""
        self._page.set_viewport_size({"width": width, "height": height})
        self._page.emulate_media(color_scheme="dark" if is_dark else "light")

    def allow_scripts(self, *, is_allowed: bool) -> None:
        """Say whether pages that are opened from now on may run scripts."""
        self.call("Emulation.setScriptExecutionDisabled", value=not is_allowed)

    def screenshot(self, file: Path, selector: str | None = None) -> Path:
        """Write what the window shows as PNG, or the element of a selector alone."""
        shown = self._page.locator(selector) if selector else self._page
        shown.screenshot(path=file)
        return file


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """
    Start a browser whose home is a folder, and end it.

    Raises
    ------
    UnavailableError
        If it is not installed.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        raise UnavailableError("chromium is not installed (make chromium, or apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise UnavailableError("playwright is not installed (pip install playwright)") from None
    variables: dict[str, str | float | bool] = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    variables |= {"LANG": "C.UTF-8", "TZ": "UTC"}
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=OPTIONS, env=variables) as started,
    ):
        yield Browser(started.new_page())
