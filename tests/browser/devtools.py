"""A headless Chromium, spoken to over its own pipe: needs no package but Python's.

Messages are JSON objects that end in a NUL byte, to the browser's file 3 and from its file 4 (--remote-debugging-pipe). The
protocol: https://chromedevtools.github.io/devtools-protocol/.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-headless-shell", "google-chrome")
# Of one answer: a browser on a busy machine starts slowly.
PATIENCE_S = 60.0
KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Enter": 13,
    "End": 35,
    "Escape": 27,
    "Tab": 9,
    "0": 48,
    "+": 187,
}
TYPED = {"Enter": "\r", "0": "0", "+": "+"}


class BrowserError(Exception):
    """The browser did not do what was asked."""


def find():
    """TACHO_CHROMIUM's browser, or the first on the PATH; None without one."""
    return os.environ.get("TACHO_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One process of the browser with a profile of its own. Use it as a context manager."""

    def __init__(self, program):
        # High numbers, so that the shell's 3 and 4 overwrite neither; bash, because a smaller shell knows one digit only.
        high = lambda fd: fcntl.fcntl(fd, fcntl.F_DUPFD, 20)
        pairs = [os.pipe(), os.pipe()]
        (child_in, self.out), (self.into, child_out) = [[high(fd) for fd in pair] for pair in pairs]
        for fd in (fd for pair in pairs for fd in pair):
            os.close(fd)
        self.profile = tempfile.mkdtemp(prefix="tacho-browser-")
        options = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking", "--force-color-profile=srgb"]
        options += ["--font-render-hinting=none", f"--user-data-dir={self.profile}", "about:blank"]
        shell = ["bash", "-c", f'exec "$0" "$@" 3<&{child_in} 4>&{child_out}', program, *options]
        self.process = subprocess.Popen(
            shell, pass_fds=(child_in, child_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(child_in)
        os.close(child_out)
        self.number, self.bytes, self.events = 0, b"", []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.send("Browser.close")
        except (BrowserError, OSError):
            self.process.kill()
        self.process.wait(10)
        for fd in (self.out, self.into):
            os.close(fd)
        shutil.rmtree(self.profile, ignore_errors=True)

    def version(self):
        return self.send("Browser.getVersion")["product"]

    def send(self, method, params=None, session=None):
        """The answer to a command. What the browser tells meanwhile is kept in `events`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data) :]
        while True:
            answer = self.next(method)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]
            self.events.append(answer)

    def next(self, waiting_for):
        """The next message."""
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self.bytes:
            ready, _, _ = select.select([self.into], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BrowserError(f"no answer to {waiting_for} within {PATIENCE_S:.0f} s")
            more = os.read(self.into, 1 << 20)
            if not more:
                raise BrowserError(f"the browser ended while it was asked for {waiting_for}")
            self.bytes += more
        message, self.bytes = self.bytes.split(b"\0", 1)
        return json.loads(message)

    def wait(self, method, session):
        """The next event of that name."""
        while True:
            found = next((e for e in self.events if e.get("method") == method and e.get("sessionId") == session), None)
            if found:
                self.events.remove(found)
                return found["params"]
            self.events.append(self.next(method))


class Page:
    """A tab of its own size and theme, at a file."""

    def __init__(self, browser, url, width, height, scale=1, mobile=False, theme="light"):
        self.browser = browser
        self.context = browser.send("Target.createBrowserContext")["browserContextId"]
        target = {"url": "about:blank", "browserContextId": self.context}
        self.target = browser.send("Target.createTarget", target)["targetId"]
        self.session = browser.send("Target.attachToTarget", {"targetId": self.target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.send(f"{domain}.enable")
        # Before it is enabled: counts what its thread computes, not what it waits for.
        self.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
        self.send("Performance.enable")
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.send("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        self.send("Emulation.setEmulatedMedia", {"features": scheme})
        start = time.monotonic()
        answer = self.send("Page.navigate", {"url": url})
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        browser.wait("Page.loadEventFired", self.session)
        self.opened_in_s = time.monotonic() - start

    def send(self, method, params=None):
        return self.browser.send(method, params, self.session)

    def close(self):
        self.browser.send("Target.closeTarget", {"targetId": self.target})
        self.browser.send("Target.disposeBrowserContext", {"browserContextId": self.context})

    def js(self, expression):
        """The value of an expression; of a promise, what it comes to."""
        params = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", params)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details.get("text"))
        return answer["result"].get("value")

    def press(self, key):
        """A key, down and up."""
        event = {"key": key, "windowsVirtualKeyCode": KEYS[key]}
        down = {"type": "keyDown", "text": TYPED[key]} if key in TYPED else {"type": "rawKeyDown"}
        self.send("Input.dispatchKeyEvent", {**event, **down})
        self.send("Input.dispatchKeyEvent", {**event, "type": "keyUp"})

    def busy_s(self):
        """Seconds that the page's thread has computed so far."""
        metrics = self.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def screenshot(self):
        """What is on the screen, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", {"format": "png"})["data"])

    def accessible(self):
        """What a screen reader is told: the nodes that it does not skip."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node.get("ignored")]

    def told(self, method):
        """The events of that name so far."""
        mine = [event for event in self.browser.events if event.get("sessionId") == self.session]
        return [event["params"] for event in mine if event.get("method") == method]

    def problems(self):
        """Errors and warnings of the console, and exceptions that nobody caught."""
        console = [
            " ".join(str(argument.get("value", argument.get("description"))) for argument in event["args"])
            for event in self.told("Runtime.consoleAPICalled")
            if event["type"] in ("error", "warning", "assert")
        ]
        thrown = [event["exceptionDetails"].get("text", "") for event in self.told("Runtime.exceptionThrown")]
        log = [event["entry"]["text"] for event in self.told("Log.entryAdded") if event["entry"]["level"] in ("error", "warning")]
        return console + thrown + log

    def asked(self):
        """Every address that the page asked for."""
        return [event["request"]["url"] for event in self.told("Network.requestWillBeSent")]
