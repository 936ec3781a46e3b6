"""Headless Chromium for tests, driven over the Chrome DevTools Protocol through a pair of pipes.

Chromium speaks the protocol on descriptors 3 and 4 (`--remote-debugging-pipe`), one JSON message after the other
with a zero byte behind each: no port is opened, and no client library is needed. Everything that the page asks of
the network and everything that it complains of is kept in `Page.requests` and `Page.complaints`.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is missing; get it with `make services`, or install it"
)

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # containers have no user namespaces; nothing but the node under test is opened
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-extensions",
    "--metrics-recording-only",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_ANSWER_S = 15.0
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40}


_PLACE = (
    sys.executable,
    "-ISc",
    "import os, sys; [os.dup2(int(sys.argv[n]), n + 2) for n in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])",
)
"""Puts the pipes where Chromium looks for them and becomes it; `preexec_fn` is not safe beside threads."""


class ProtocolError(AssertionError):
    """Chromium refused a command, or what was evaluated raised."""


class Browser:
    """One Chromium process with a profile of its own."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        down, self._to = _pipe()
        self._from, up = _pipe()
        with open(profile / "output.txt", "wb") as output:
            self.process = subprocess.Popen(
                [*_PLACE, str(down), str(up), CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
                pass_fds=(down, up),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        os.close(down)
        os.close(up)
        self._lock = threading.Lock()
        self._number = 0
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        threading.Thread(target=self._read, name="chromium", daemon=True).start()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Have a command done; give its result.

        Raises:
            ProtocolError: It was refused, or not answered in time.
        """
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            self._number += 1
            number = self._number
            self._answers[number] = answers
            message = {"id": number, "method": method, "params": parameters}
            if session:
                message["sessionId"] = session
            os.write(self._to, json.dumps(message).encode() + b"\0")
        try:
            answer = answers.get(timeout=_ANSWER_S)
        except queue.Empty:
            raise ProtocolError(f"{method} was not answered within {_ANSWER_S:g} s") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise ProtocolError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def tell(self, method: str, session: str, **parameters: Any) -> None:
        """Have a command done, and do not wait for it."""
        with self._lock:
            self._number += 1
            message = {"id": self._number, "method": method, "params": parameters, "sessionId": session}
            os.write(self._to, json.dumps(message).encode() + b"\0")

    def open(self, url: str = "", *, width: int = 1280, height: int = 900, script: str = "") -> Page:
        """A new tab.

        Args:
            url: What to open; empty for nothing yet.
            width, height: Of the window, CSS pixels.
            script: JavaScript that each page begins with.
        """
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        self._pages[session] = page
        page.begin(width, height, script)
        if url:
            page.go(url)
        return page

    def close(self) -> None:
        """End it, and wait until it is gone."""
        with suppress(ProtocolError, OSError):
            self.call("Browser.close")
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        os.close(self._to)

    def _read(self) -> None:
        rest = b""
        while chunk := os.read(self._from, 1 << 20):
            *whole, rest = (rest + chunk).split(b"\0")
            for each in whole:
                self._take(json.loads(each))
        os.close(self._from)

    def _take(self, message: dict[str, Any]) -> None:
        waiting = self._answers.get(message.get("id", 0))
        if waiting is not None:
            waiting.put(message)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.hear(message["method"], message["params"])


class Page:
    """One tab.

    Attributes:
        requests: Every address that it asked for.
        complaints: Errors and warnings of the console, exceptions, violations of the content security policy,
            failed requests and answers of 400 and above, in words.
    """

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.browser = browser
        self._session = session
        self._target = target
        self._addresses: dict[str, str] = {}
        self._loaded = threading.Event()
        self._forged: dict[str, tuple[bytes, str]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have a command done in this tab."""
        return self.browser.call(method, self._session, **parameters)

    def begin(self, width: int, height: int, script: str) -> None:
        """Listen to what it does; see `Browser.open`."""
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # a tab behind another draws nothing
        self.size(width, height)

    def size(self, width: int, height: int, *, scale: float = 1.0, mobile: bool = False) -> None:
        """Make the window so large, CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )

    def prefer(self, **features: str) -> None:
        """Set what the person prefers, as `prefers_color_scheme="dark"`."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def go(self, url: str) -> None:
        """Open an address, and wait until it is loaded."""
        self._loaded.clear()
        self.call("Page.navigate", url=url)
        assert self._loaded.wait(_ANSWER_S), f"{url} was not loaded within {_ANSWER_S:g} s: {self.complaints}"

    def forge(self, path: str, body: bytes, kind: str) -> None:
        """Answer requests for a path with these bytes, in the server's place."""
        self._forged[path] = (body, kind)
        self.call("Fetch.enable", patterns=[{"urlPattern": f"*{each}"} for each in self._forged])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise's too.

        Raises:
            ProtocolError: It raised.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ProtocolError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, expression: str, what: str, within_s: float = 10.0) -> Any:
        """Wait until an expression is true; give its value.

        Raises:
            AssertionError: It did not come true within the time.
        """
        until = time.monotonic() + within_s
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            assert time.monotonic() < until, f"not within {within_s:g} s: {what}; complaints: {self.complaints}"
            time.sleep(0.02)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key, and let it go."""
        code = _KEYS[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click on the middle of an element with the mouse."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{found}.scrollIntoView({{ block: 'center', behavior: 'instant' }})")
        middle = "(box => [box.x + box.width / 2, box.y + box.height / 2])"
        place = self.evaluate(f"{middle}({found}.getBoundingClientRect())")
        common: dict[str, Any] = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **common)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **common)

    def picture(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def accessible(self) -> list[dict[str, Any]]:
        """What assistive technology is told: role, name and properties of each node that is not ignored."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "role": each.get("role", {}).get("value", ""),
                "name": each.get("name", {}).get("value", ""),
                "properties": {one["name"]: one["value"].get("value") for one in each.get("properties", [])},
                "node": each.get("backendDOMNodeId"),
            }
            for each in nodes
            if not each.get("ignored")
        ]

    def _answer(self, request: str, url: str) -> None:
        path = next(each for each in self._forged if url.endswith(each))
        body, kind = self._forged[path]
        self.browser.tell(
            "Fetch.fulfillRequest",
            self._session,
            requestId=request,
            responseCode=200,
            responseHeaders=[{"name": "Content-Type", "value": kind}],
            body=base64.b64encode(body).decode(),
        )

    def close(self) -> None:
        """Close the tab."""
        self.browser.call("Target.closeTarget", targetId=self._target)

    def hear(self, method: str, parameters: dict[str, Any]) -> None:
        """Take an event; called on the reading thread."""
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Fetch.requestPaused":
                self._answer(parameters["requestId"], parameters["request"]["url"])
            case "Network.requestWillBeSent":
                self._addresses[parameters["requestId"]] = parameters["request"]["url"]
                self.requests.append(parameters["request"]["url"])
            case "Network.responseReceived" if parameters["response"]["status"] >= 400:
                self.complaints.append(f"{parameters['response']['status']}: {parameters['response']['url']}")
            case "Network.loadingFailed":
                address = self._addresses.get(parameters["requestId"], "?")
                self.complaints.append(f"{parameters['errorText']}: {address}")
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                self.complaints.append(details.get("exception", {}).get("description") or details["text"])
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.complaints.append(
                    " ".join(str(each.get("value", each.get("description"))) for each in parameters["args"])
                )
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                entry = parameters["entry"]
                self.complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are in nobody's way: above the numbers that Chromium expects its own at."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in ends)
    for each in ends:
        os.close(each)
    return high[0], high[1]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium, gone at the end whatever happened."""
    with TemporaryDirectory(prefix="ark-chromium-", ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        try:
            yield browser
        finally:
            browser.close()
