"""`adtrie explore` as a process: its questions over HTTP, Ctrl-C, and the page in a real browser."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "llama"
ROWS = "id,text,country\n1,red shoe,DE\n2,red shoes,DE\n3,blue shoe,FR\n4,green hat,FR\n"
TEMPLATE = "Q: {query}\\nA:"
Json = dict[str, Any]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "adtrie", *map(str, arguments)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a running page and its process."""
    folder = tmp_path_factory.mktemp("explore")
    environment = os.environ | {"ADTRIE_CACHE": str(folder / "cache")}
    rows, catalogue, model = folder / "rows.csv", folder / "rows.cat", folder / "model"
    rows.write_text(ROWS)
    shutil.copytree(GOLDEN, model)  # plain files instead of links
    subprocess.run(command("index", rows, catalogue, "-m", model), check=True, capture_output=True)
    options = ("--port", 0, "--json", "--threads", 1, "--prompt-template", TEMPLATE)
    with subprocess.Popen(
        command("explore", "-m", model, "-c", catalogue, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"], process
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def ask(url: str, question: Json) -> tuple[int, Json]:
    connection = http.client.HTTPConnection(url.removeprefix("http://").strip("/"), timeout=120)
    connection.request("POST", "/api/ask", json.dumps(question), {"Content-Type": "application/json"})
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def test_questions(page: tuple[str, Any]) -> None:
    url, _ = page
    status, said = ask(url, {"query": "shoe", "k": 2, "why": "3", "where": "country = DE"})
    assert status == 200 and said["eligible"] == 2
    assert {hit["id"] for hit in said["results"]} == {"1", "2"}
    assert said["why"][0]["verdict"] == "filtered"
    assert said["explanation"]["tree"]["children"]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"query": ""}, "query"),
        ({}, "query"),
        ({"query": 3}, "query"),
        ({"query": "x", "k": 0}, "k:"),
        ({"query": "x", "mode": "all"}, "mode"),
        ({"query": "x", "mode": ["exact"]}, "mode"),
        ({"query": "x", "max_rows": 1e9}, "max_rows"),
        ({"query": "x", "where": "nowhere = 1"}, "nowhere"),
        ({"query": "x", "where": 1}, "where"),
        ({"query": "x", "max_row": 1}, "closest is 'max_rows'"),
    ],
)
def test_bad_questions(page: tuple[str, Any], question: Json, reason: str) -> None:
    status, said = ask(page[0], question)
    assert status == 400 and reason in said["error"]


class Browser:
    """A headless Chromium through the WebDriver protocol."""

    def __init__(self, driver: str, folder: Path) -> None:
        self._process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = next(
            line.split()[-1] for line in self._process.stdout if "started successfully on port" in line
        )
        self._url = f"http://127.0.0.1:{port.rstrip('.')}/session"
        switches = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"]
        switches += ["disable-background-networking", "disable-component-update", f"user-data-dir={folder}"]
        chrome = {"args": [*switches, "window-size=1300,1000"]}
        always = {"browserName": "chrome", "goog:chromeOptions": chrome}
        made = self._send("POST", "", {"capabilities": {"alwaysMatch": always}})
        self._url += f"/{made['sessionId']}"

    def _send(self, method: str, path: str, body: Json | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, JSON_TYPE, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read())["value"]

    def open(self, url: str) -> None:
        self._send("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value of a script's `return`."""
        return self._send("POST", "/execute/sync", {"script": script, "args": []})

    def type(self, selector: str, text: str) -> None:
        found = self._send("POST", "/element", {"using": "css selector", "value": selector})
        element = next(iter(found.values()))
        self._send("POST", f"/element/{element}/clear", {})
        self._send("POST", f"/element/{element}/value", {"text": text})

    def close(self) -> None:
        try:
            self._send("DELETE", "")
        finally:
            self._process.terminate()
            self._process.communicate(timeout=30)


JSON_TYPE = {"Content-Type": "application/json"}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no chromedriver on this machine: install Debian's chromium and chromium-driver")
    made = Browser(driver, tmp_path / "profile")
    yield made
    made.close()


def wait(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of `condition`."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)
    return value


def test_the_page_in_a_browser(page: tuple[str, Any], browser: Browser) -> None:
    browser.open(page[0])
    wait(lambda: "4 entries" in browser.run("return document.getElementById('about').textContent"))
    browser.type("#query", "shoe\n")
    rows = "return [...document.querySelectorAll('#results tr')].map(row => row.cells[3].textContent)"
    assert wait(lambda: sorted(browser.run(rows)[1:])) == ["1", "2", "3", "4"]
    lit = "return document.querySelectorAll('#trie rect.answer').length"
    wait(lambda: browser.run(lit) == 4)
    # before the first forward: how many forwards follow depends on this machine's latency table
    browser.run("const s = document.getElementById('step'); s.value = 0; s.dispatchEvent(new Event('input'))")
    assert browser.run("return document.querySelectorAll('#trie rect').length") == 1
    browser.type("#where", "country = DE\n")
    browser.run("document.getElementById('where').dispatchEvent(new Event('change'))")
    wait(lambda: sorted(browser.run(rows)[1:]) == ["1", "2"])
    browser.type("#where", "nowhere = 1")
    browser.run("document.getElementById('where').dispatchEvent(new Event('change'))")
    wait(lambda: "nowhere" in browser.run("return document.getElementById('error').textContent"))
    browser.type("#where", " ")
    move = "const r = document.getElementById('rows'); r.value = 1; r.dispatchEvent(new Event('change'))"
    browser.run(move)
    wait(lambda: _is_bounded(browser))
    browser.type("#why", "4\n")
    browser.run("document.getElementById('why').dispatchEvent(new Event('change'))")
    wait(lambda: browser.run("return document.getElementById('verdict').textContent").startswith("4: "))


def _is_bounded(browser: Browser) -> bool:
    cost = browser.run("return document.getElementById('cost').textContent")
    return "2 rows" in cost or "1 rows" in cost
