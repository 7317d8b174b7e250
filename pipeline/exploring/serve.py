"""A small server for the page: this machine alone, files of one folder, the same policy as the page's own."""

import functools
import sys
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError

# WebAssembly is compiled from the site's own file; nothing else is evaluated, and nobody else is asked for anything.
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
    extensions_map = {  # noqa: RUF012  (as the base class has it; the system's own table may say anything)
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
        self.send_header("Cache-Control", "no-cache")  # after the next build the new files are seen
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass

    def list_directory(self, path: object) -> None:  # noqa: ARG002
        self.send_error(404)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a browser that hung up is no error
            super().handle_error(request, client_address)


def open_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of `folder` on 127.0.0.1, not yet answering; port 0 is any that is free.

    Raises:
        OutputError: the port is taken.
    """
    handler = functools.partial(_Handler, directory=str(folder))
    try:
        return _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise OutputError(
            f"port {port} cannot be used: {error.strerror}; leave out --port to take a free one"
        ) from error


def serve(folder: Path, port: int, announce: Callable[[str], None]) -> None:
    """Announce the address and answer until the process is stopped."""
    with open_server(folder, port) as server:
        announce(f"http://localhost:{server.server_address[1]}/")
        server.serve_forever()
