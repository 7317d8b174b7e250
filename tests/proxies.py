"""What lies between a client and a store on bad days: delays, answers of 503, connections that break off."""

import contextlib
import http.client
import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Weather:
    """How requests fare, to be changed at any time, and which there were."""

    busy: int = 0
    """So many of the next requests are answered with 503."""
    broken: int = 0
    """Of so many of the next answers with more than `reached` bytes, only these come."""
    reached: int = 100_000
    lost: int = 0
    """So many of the next objects are put, but no answer comes."""
    latency: float = 0
    """Seconds that each request takes longer."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range of each request."""
    sent: int = 0
    """Bytes of the bodies of all requests."""
    received: int = 0
    """Of all answers."""

    def reads(self, name: str) -> list[str]:
        """The ranges that were asked for of an object."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(name)]

    def strikes(self, kind: str) -> bool:
        """Whether one of these is due."""
        left: int = getattr(self, kind)
        setattr(self, kind, max(left - 1, 0))
        return left > 0


@contextlib.contextmanager
def between(endpoint: str) -> Iterator[tuple[str, Weather]]:
    """The address of a proxy before a store, and its weather."""
    weather = Weather()

    class Handler(_Handler):
        behind, sky = urlsplit(endpoint).netloc, weather

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that turn away
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", weather
        server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behind: str
    sky: Weather

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        sky = self.sky
        sky.asked.append((self.command, self.path.partition("?")[0], self.headers.get("Range", "")))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sky.sent += len(body)
        time.sleep(sky.latency)
        if sky.strikes("busy"):
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        store = http.client.HTTPConnection(self.behind)
        store.request(self.command, self.path, body, dict(self.headers))  # with its Host, which is signed
        answer = store.getresponse()
        if self.command == "PUT" and answer.status == 200 and sky.strikes("lost"):
            self.close_connection = True
            return
        size = int(answer.headers.get("Content-Length", 0))
        bounded = "Content-Length" in answer.headers
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        if not bounded:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET" and size > sky.reached and sky.strikes("broken"):
            self.wfile.write(answer.read(sky.reached))
            self.close_connection = True
            return
        while self.command != "HEAD" and (some := answer.read(1 << 18)):
            sky.received += len(some)
            self.wfile.write(some)
        store.close()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815
