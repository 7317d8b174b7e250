"""A small server for the page: local only, one folder, and the same policy as in the page itself."""

import functools
import sys
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError

# WebAssembly may be compiled from the site's own files. Nothing else is evaluated, and no other host is contacted.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {  # noqa: RUF012  (declared like this in the base class; the system's own table is not reliable)
        "": "application/octet-stream",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript",
        ".css": "text/css",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".webp": "image/webp",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", f"{POLICY}; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")  # so that a new build is seen
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass

    def list_directory(self, path: object) -> None:  # noqa: ARG002
        self.send_error(404)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a browser that closed the connection is no error
            super().handle_error(request, client_address)


def open_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of `folder` on 127.0.0.1 that is bound but not yet serving; port 0 takes any free port.

    Raises:
        OutputError: the port cannot be used.
    """
    handler = functools.partial(_Handler, directory=str(folder))
    try:
        return _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise OutputError(
            f"port {port} cannot be used: {error.strerror}; leave out --port to take a free one"
        ) from error


def serve(folder: Path, port: int, announce: Callable[[str], None]) -> None:
    """Announce the address and serve until the process is stopped."""
    with open_server(folder, port) as server:
        announce(f"http://localhost:{server.server_address[1]}/")
        server.serve_forever()
