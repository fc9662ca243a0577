"""A real browser, Debian's Chromium, without a display and without a network, driven through a pair of pipes."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.waiting import PATIENCE_SECONDS

# Root has no sandbox; the resolver knows no host but this one, so that a request would fail as well as be seen.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# The descriptors of the protocol are 3 and 4.
LAUNCHER = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for number, each in enumerate(ours, 3):
    os.dup2(each, number)
    os.close(each)
os.execv(sys.argv[3], sys.argv[3:])
"""


class UnavailableError(Exception):
    """Chromium is not installed."""


class Browser:
    """
    One page of a browser, by the Chrome DevTools Protocol.

    ``requests`` are the addresses that it has asked for, ``errors`` what its console says of errors.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", send: int, receive: int) -> None:
        self._process = process
        self._send, self._receive = send, receive
        self._rest = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._last = 0
        self._session: str | None = None
        self._loaded: set[str] = set()
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.show(width=1280, height=800)

    def forget(self) -> None:
        """Begin with an empty page, and forget what was asked for and complained about before."""
        self.show(width=1280, height=800)
        self._go("about:blank")
        self.requests.clear()
        self.errors.clear()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._send, data) :]
        answer = self._until(lambda: self._answers.pop(self._last, None), method)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _until(self, found: Callable[[], Any], what: str) -> Any:
        """Read what the browser says until something is found, and return that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (result := found()):
            seconds = max(0.0, deadline - time.monotonic())
            assert select.select([self._receive], [], [], seconds)[0], (
                f"the browser has not answered {what} within {PATIENCE_SECONDS:g} s"
            )
            data = os.read(self._receive, 1 << 20)
            assert data, "the browser has ended"
            *lines, self._rest = (self._rest + data).split(b"\0")
            for line in lines:
                self._take(json.loads(line))
        return result

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        else:
            self._note(message["method"], message["params"])

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            if parameters["request"]["url"] != "about:blank":
                self.requests.append(parameters["request"]["url"])
        elif method == "Page.lifecycleEvent" and parameters["name"] == "load":
            self._loaded.add(parameters["loaderId"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in {"error", "assert", "warning"}:
            self.errors.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in {"error", "warning"}:
            self.errors.append(json.dumps(parameters["entry"]))

    def open(self, page: Path | str, fragment: str = "", *, script: bool = True) -> float:
        """Open a file or an address; return after how many seconds it was loaded and, if it may run scripts, drawn."""
        self._go("about:blank")
        began = time.monotonic()
        self._go((page.as_uri() if isinstance(page, Path) else page) + fragment)
        if script:
            self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return time.monotonic() - began

    def _go(self, address: str) -> None:
        """Open an address and wait until it is loaded: Chromium never answers a request that ends another's loading."""
        loader = self.call("Page.navigate", url=address)["loaderId"]
        self._until(lambda: loader in self._loaded, f"that {address} is loaded")

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, by their names in DOM such as ``ArrowDown``."""
        codes = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
        for key in keys:
            number = codes.get(key, 40)
            for kind in ("rawKeyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        box = f"document.querySelector({json.dumps(selector)})"
        x, y = self.value(
            f"(() => {{ {box}.scrollIntoView({{block: 'nearest'}}); const each = {box}.getBoundingClientRect();"
            "return [each.x + each.width / 2, each.y + each.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def show(self, *, width: int, height: int, is_dark: bool = False) -> None:
        """Set the size of the window, and whether the person prefers dark colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def allow_scripts(self, *, is_allowed: bool) -> None:
        """Say whether pages that are opened from now on may run scripts."""
        self.call("Emulation.setScriptExecutionDisabled", value=not is_allowed)

    def screenshot(self, file: Path, selector: str | None = None) -> Path:
        """Write what the window shows as PNG, or the element of a selector alone."""
        parameters = {}
        if selector:
            box = self.value(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
            parameters["clip"] = {name: box[name] for name in ("x", "y", "width", "height")} | {"scale": 1}
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"]))
        return file


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """
    Start a browser that keeps everything in one folder, and end it.

    Raises
    ------
    UnavailableError
        If it is not installed.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        raise UnavailableError("chromium is not installed (make chromium, or apt-get install chromium)")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    log = (folder / "browser.log").open("wb")
    launcher = [sys.executable, "-c", LAUNCHER, str(theirs_in), str(theirs_out)]
    process = subprocess.Popen(
        [*launcher, program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        pass_fds=(theirs_in, theirs_out),
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    log.close()
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(process, ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)  # it ends by itself when the pipe is closed
        process.kill()
        process.wait(PATIENCE_SECONDS)
