"""Opens a page of `radmae report` in headless Chromium, narrow and wide, light and dark: screenshots and complaints.

    python tools/look_at_report.py runs/demo/report.html runs/look [--browser chromium]

Writes OUT/390-light.png and so on, whole pages, and page.pdf. Exit code 1, and a line for each, on a console error, on
any request but for the page itself and data: URIs, on a page wider than its window, dead links, skipped headings and
pictures without text. Needs Chromium or Chrome on PATH and nothing else: the DevTools protocol is spoken over the
browser's pipe.
"""

import argparse
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WIDTHS = (390, 1280)  # pixels: a phone held upright, a small desktop
SCHEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60.0  # seconds that an answer may take
_LAYOUT = """(() => {
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  const levels = [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(e => +e.tagName[1]);
  const links = [...document.querySelectorAll('a[href^="#"]')].map(e => e.getAttribute('href').slice(1));
  return {
    wide: document.documentElement.scrollWidth, tall: document.documentElement.scrollHeight,
    twice: ids.filter((id, at) => ids.indexOf(id) !== at),
    skipped: levels.filter((level, at) => at && level > levels[at - 1] + 1).length,
    dead: links.filter(id => !ids.includes(id)),
    unnamed: [...document.querySelectorAll('img:not([alt]), svg[role=img]:not([aria-label])')].length,
  };
})()"""


class Browser:
    """A headless browser, spoken to in messages that end with a zero byte (--remote-debugging-pipe)."""

    def __init__(self, command: str, profile: str):
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        options = (
            "--headless=new --remote-debugging-pipe --no-sandbox --disable-gpu --hide-scrollbars --no-first-run "
            f"--disable-background-networking --disable-component-update --user-data-dir={profile} about:blank"
        )
        # The browser reads from descriptor 3 and writes to 4, which only a shell can be asked to open.
        shell = f'exec "$0" {options} 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", shell, command], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._number, self._rest, self.events = 0, b"", []

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Asks, and waits for the answer; events that come first are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, event: str) -> None:
        """Waits for an event, also one that has come already."""
        while not any(held["method"] == event for held in self.events):
            self.events.append(self._next())

    def close(self) -> None:
        self.call("Browser.close")
        self._process.wait(PATIENCE)

    def _next(self) -> dict[str, Any]:
        limit = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, limit - time.monotonic()))
            data = os.read(self._from, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError(f"the browser said nothing for {PATIENCE:.0f} s, or ended")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


def look(browser: Browser, page: str, width: int, scheme: str, out: Path) -> list[str]:
    """Saves a screenshot of the whole page; returns what is wrong."""
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    browser.events.clear()
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.call(f"{domain}.enable", session)
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.call("Emulation.setDeviceMetricsOverride", session, **screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", session, features=features)
    browser.call("Page.navigate", session, url=page)
    browser.wait_for("Page.loadEventFired")
    layout = browser.call("Runtime.evaluate", session, expression=_LAYOUT, returnByValue=True)["result"]["value"]
    clip = {"x": 0, "y": 0, "width": width, "height": layout["tall"], "scale": 1}
    shot = browser.call("Page.captureScreenshot", session, clip=clip, captureBeyondViewport=True)
    (out / f"{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
    if (width, scheme) == (WIDTHS[-1], SCHEMES[0]):
        printed = browser.call("Page.printToPDF", session, printBackground=False)
        (out / "page.pdf").write_bytes(base64.b64decode(printed["data"]))
    browser.call("Target.closeTarget", targetId=target)
    return _complaints(browser.events, page) + _faults(layout, width)


def _complaints(events: list[dict[str, Any]], page: str) -> list[str]:
    said = []
    for event in events:
        method, told = event["method"], event.get("params", {})
        if method == "Runtime.exceptionThrown":
            said.append(f"exception: {told['exceptionDetails']['text']}")
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            said.append(f"console: {told['args']}")
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            said.append(f"log: {told['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            url = told["request"]["url"].partition("#")[0]
            if url != page and not url.startswith("data:"):
                said.append(f"request: {url}")
    return said


def _faults(layout: dict[str, Any], width: int) -> list[str]:
    # Not innerWidth: on a phone the window grows with what does not fit it.
    said = [f"{layout['wide']} pixels wide"] if layout["wide"] > width else []
    said += [f"id {name!r} occurs twice" for name in layout["twice"]]
    said += [f"a link to #{name}, which is not there" for name in layout["dead"]]
    for name, words in (("skipped", "headings skip a level"), ("unnamed", "pictures have no text")):
        said += [f"{layout[name]} {words}"] if layout[name] else []
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--browser", help="program to run (default: the first found of " + ", ".join(BROWSERS) + ")")
    options = parser.parse_args()
    command = options.browser or next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if command is None:
        print(f"none of {', '.join(BROWSERS)} is on PATH", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    wrong = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(command, profile)
        for width in WIDTHS:
            for scheme in SCHEMES:
                said = look(browser, options.page.resolve().as_uri(), width, scheme, options.out)
                print(f"{width} {scheme}: {'nothing to complain about' if not said else ''}")
                for line in said:
                    print(f"  {line}")
                wrong += len(said)
        browser.close()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
