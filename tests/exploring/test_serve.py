"""The server of the page."""

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.exploring.serve import POLICY, open_server


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[HTTPConnection]:
    (tmp_path / "web/sub").mkdir(parents=True)
    (tmp_path / "web/index.html").write_text("<!doctype html>")
    (tmp_path / "web/a.wasm").write_bytes(b"\0asm")
    (tmp_path / "web/model.onnx").write_bytes(b"model")
    (tmp_path / "secret.txt").write_text("not yours")
    with open_server(tmp_path / "web") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "type_"),
    [("/", "text/html; charset=utf-8"), ("/a.wasm", "application/wasm"), ("/model.onnx", "application/octet-stream")],
)
def test_files_come_with_their_type_and_the_policy(connection: HTTPConnection, path: str, type_: str) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["content-type"] == type_
    assert response.headers["content-security-policy"] == f"{POLICY}; frame-ancestors 'none'"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/sub/", "/lost.txt", "/../secret.txt", "/%2e%2e/secret.txt"])
def test_nothing_else_is_served(connection: HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    assert connection.getresponse().status == 404


def test_the_policy_lets_nobody_else_in() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("script-src") == "'self' 'wasm-unsafe-eval'"
    assert set(rules.values()) == {"'self'", "'none'"}


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"port {port} cannot be used"):
            open_server(tmp_path, port)


def test_only_this_machine_is_answered(tmp_path: Path) -> None:
    with open_server(tmp_path) as server:
        assert server.server_address[0] == "127.0.0.1"
