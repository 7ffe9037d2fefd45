"""The page and its endpoints over real connections: limits, errors, names, and nothing from elsewhere."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from adtrie.errors import InputError
from adtrie.explore import ExploreServer
from adtrie.explore.server import MAX_BODY_BYTES

JSON = {"Content-Type": "application/json"}


def answer(question: dict[str, object]) -> dict[str, object]:
    if question.get("query") == "bad":
        raise InputError("query: bad")
    if question.get("query") == "bug":
        raise ZeroDivisionError("secret")
    return {"asked": question}


@pytest.fixture
def server() -> Iterator[ExploreServer]:
    with ExploreServer(answer, {"entries": 3}) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: ExploreServer,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    found = response.status, response.read(), dict(response.getheaders())
    connection.close()
    return found


def error_of(found: tuple[int, bytes, dict[str, str]]) -> tuple[int, str]:
    return found[0], json.loads(found[1])["error"]


def test_the_page_loads_nothing_from_elsewhere(server: ExploreServer) -> None:
    status, body, headers = ask(server, "GET", "/")
    page = body.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    links = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?([^"'\s>)]+)""", page)
    assert set(links) <= {"data:,"}
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in page


def test_questions_are_answered(server: ExploreServer) -> None:
    assert json.loads(ask(server, "GET", "/api/about")[1]) == {"entries": 3}
    status, body, _ = ask(server, "POST", "/api/ask", '{"query":"é\\ud800"}'.encode(), JSON)
    assert status == 200 and json.loads(body)["asked"]["query"].startswith("é")


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/other", None, {}, 404),
        ("GET", "/../etc/passwd", None, {}, 404),
        ("POST", "/", b"{}", JSON, 404),
        ("PUT", "/api/ask", b"{}", JSON, 501),
        ("POST", "/api/ask", b"{}", {}, 415),
        ("POST", "/api/ask", b"{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/api/ask", b"[]", JSON, 400),
        ("POST", "/api/ask", b"{", JSON, 400),
        ("POST", "/api/ask", b"\xff", JSON, 400),
        ("POST", "/api/ask", b"[" * 60_000, JSON, 400),
        ("POST", "/api/ask", b'{"query":"bad"}', JSON, 400),
        ("POST", "/api/ask", b" " * (MAX_BODY_BYTES + 1), JSON, 413),
        ("POST", "/api/ask", b"{}", {**JSON, "Content-Length": "-1"}, 411),
        ("POST", "/api/ask", b"{}", {**JSON, "Content-Length": "9" * 30}, 411),
        ("GET", "/", None, {"Host": "example.com"}, 421),
        ("POST", "/api/ask", b"{}", {**JSON, "Host": "127.0.0.1"}, 421),
    ],
)
def test_anything_else_is_one_clear_error(
    server: ExploreServer, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    found, message = error_of(ask(server, method, path, body, headers))
    assert found == status and message


def test_a_bug_is_told_without_its_insides(server: ExploreServer, caplog: pytest.LogCaptureFixture) -> None:
    found = error_of(ask(server, "POST", "/api/ask", b'{"query":"bug"}', JSON))
    assert found == (500, "internal error; the terminal shows it")
    assert "ZeroDivisionError" in caplog.text


def test_a_body_that_ends_early_and_a_client_that_leaves(server: ExploreServer) -> None:
    for request in (b"POST /api/ask HTTP/1.0\r\n", b"\x00\xff\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as raw:
            raw.sendall(request)
    head = f"POST /api/ask HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n"
    head += "Content-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as raw:
        raw.sendall(f"{head}Content-Length: 10\r\n\r\n{{".encode())
        raw.shutdown(socket.SHUT_WR)
        assert b"announced were 10" in raw.makefile("rb").read()
    assert ask(server, "GET", "/")[0] == 200


def test_a_port_that_is_taken(server: ExploreServer) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        ExploreServer(answer, {}, server.server_port)


def test_only_this_machine_can_reach_it(server: ExploreServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
