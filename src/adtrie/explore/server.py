"""The page and its JSON endpoints on 127.0.0.1. Knows HTTP; what a question means is its caller's business.

GET / is the page, GET /api/about what can be asked, POST /api/ask one question. Nothing else is answered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from adtrie.errors import AdtrieError, InputError

HOST = "127.0.0.1"
MAX_BODY_BYTES = 1 << 16
MAX_DRAINED_BYTES = 1 << 20  # of a body that is refused
TIMEOUT_S = 10.0  # of reading a request and of writing its answer
Json = dict[str, Any]
Ask = Callable[[Json], Json]
_LOGGER = logging.getLogger("adtrie")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ExploreServer(ThreadingHTTPServer):
    """Serves `ask` and `about`; `serve_forever` answers until `shutdown`, `server_close` frees the port.

    `ask` takes a JSON object and gives one without infinite numbers; its AdtrieErrors become status 400.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, ask: Ask, about: Json, port: int = 0) -> None:
        """Listens at once; port 0 is any free one. Raises InputError for a port that is not to be had."""
        self.ask, self.about = ask, about
        self.page = files("adtrie.explore").joinpath("page.html").read_bytes()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--port: {port} cannot be used: {error}; choose another, or 0 for any"
            ) from None

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; anything else was answered before."""
        _LOGGER.debug("explore: connection ended", exc_info=True)


class _Refused(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ExploreServer
    timeout = TIMEOUT_S
    server_version, sys_version = "adtrie", ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, make: Callable[[], tuple[str, bytes]]) -> None:
        """Sends what `make` gives, or an error as JSON."""
        try:
            self._check_host()
            kind, body = make()
            status = HTTPStatus.OK
        except _Refused as error:
            kind, body, status = "application/json", _dumped({"error": str(error)}), error.status
        except AdtrieError as error:
            kind, body, status = "application/json", _dumped({"error": str(error)}), HTTPStatus.BAD_REQUEST
        except (TimeoutError, ConnectionError):
            self.close_connection = True
            return
        except Exception:
            _LOGGER.exception("explore: a question failed")
            kind, body = "application/json", _dumped({"error": "internal error; the terminal shows it"})
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _check_host(self) -> None:
        """Refuses other names for this machine: a foreign page could have its own name point here."""
        port = self.server.server_port
        if self.headers.get("Host", "") not in (f"{HOST}:{port}", f"localhost:{port}"):
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, f"ask {self.server.url} by that name")

    def _get(self) -> tuple[str, bytes]:
        path = self.path.partition("?")[0]
        if path == "/":
            return "text/html", self.server.page
        if path == "/api/about":
            return "application/json", _dumped(self.server.about)
        raise _Refused(HTTPStatus.NOT_FOUND, "there are only /, /api/about and /api/ask")

    def _post(self) -> tuple[str, bytes]:
        if self.path != "/api/ask":
            raise _Refused(HTTPStatus.NOT_FOUND, "POST goes to /api/ask")
        # A page of another origin cannot send this type without asking first, which is never granted.
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type: expected application/json")
        return "application/json", _dumped(self.server.ask(_object(self._body())))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal() and len(length) < 12):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length: expected a number of bytes")
        if int(length) > MAX_BODY_BYTES:
            self.rfile.read(min(int(length), MAX_DRAINED_BYTES))  # else the answer may be lost with them
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length} bytes, at most {MAX_BODY_BYTES} are read"
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _Refused(HTTPStatus.BAD_REQUEST, f"{len(body)} bytes, announced were {length}")
        return body

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the protocol itself, in the form of all others."""
        body = _dumped({"error": message or HTTPStatus(code).phrase})
        self.send_response(code)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        _LOGGER.debug("explore: " + format, *args)


def _object(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"not JSON: {str(error)[:120]}") from None
    if not isinstance(value, dict):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"expected a JSON object, got {type(value).__name__}")
    return value


def _dumped(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
