"""What is said where a server, or the way to it, fails: what happened, and what to do."""

import datetime
import http.server
import io
import ipaddress
import socket
import ssl
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.errors import DataError
from pipeline.sources.images import Pixels, open_images
from tests.sources.piles import bad_of, pixels_of, png, read_all, write


class Moody(http.server.SimpleHTTPRequestHandler):
    """Answers `/403/...` with that status; below other words, gives what is there whole, by half or without a size."""

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        _, mood, name = self.path.split("/", 2)
        if mood.isdigit() or "forbidden" in name:
            self.send_error(int(mood) if mood.isdigit() else 403)
            return
        if name.endswith("/"):
            self.path = f"/{name}"
            super().do_GET()  # a listing
            return
        content = Path(self.directory, name).read_bytes()
        self.send_response(200)
        if mood != "unsized":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if mood == "half" else content)


@contextmanager
def serving(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address, without its scheme, of a server of `folder`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Moody(*a, directory=str(folder))) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that turn away
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield f"http://{address}"


@pytest.fixture
def closed() -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def refusal(address: str) -> str:
    with pytest.raises(DataError) as error:
        read_all(open_images(address))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("path", ["pile.npy", "picture.png", "folder/", "folder/*.png"])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "its server answered 401 Unauthorized; check the address, and that you may read it"),
        (403, "its server answered 403 Forbidden; check the address, and that you may read it"),
        (418, "its server answered 418 I'm a Teapot; check the address"),
        (429, "its server answered 429 Too Many Requests; try again later"),
        (500, "its server answered 500 Internal Server Error; try again later"),
        (503, "its server answered 503 Service Unavailable; try again later"),
        (599, "its server answered 599; try again later"),
    ],
)
def test_the_answer_of_a_server_is_said_with_what_to_do(status: int, said: str, path: str, server: str) -> None:
    assert refusal(f"{server}/{status}/{path}") == f"{server}/{status}/{path} can't be read: {said}"


def test_what_a_server_does_not_have_was_not_found(server: str) -> None:
    assert "/pile.npy was not found; expected an IDX" in refusal(f"{server}/404/pile.npy")
    assert "/*.png holds no image; expected an IDX" in refusal(f"{server}/404/*.png")


def test_a_picture_that_a_server_refuses_is_a_bad_row_with_its_answer(images: Pixels, tmp_path: Path) -> None:
    write(tmp_path / "folder_of_png", images).joinpath("0003.png").rename(tmp_path / "folder_of_png/forbidden.png")
    with serving(tmp_path) as address:
        stretches = read_all(open_images(f"http://{address}/whole/folder_of_png/"))
    assert [bad.reason for rows in stretches for bad in rows.bad] == [
        "can't be read (its server answered 403 Forbidden)"
    ]
    assert list(bad_of(stretches)) == [8]


def test_a_port_that_is_closed(closed: str) -> None:
    for address in (f"http://{closed}/pile.npy", f"http://{closed}/folder/*.png", f"ftp://{closed}/pile.npy"):
        assert refusal(address).endswith("Connection refused; check the address, and whether the server runs")


def test_a_host_that_nobody_knows() -> None:
    said = refusal("http://nowhere.invalid/pile.npy")
    assert (
        said
        == "http://nowhere.invalid/pile.npy can't be read: its host is not known; check the address and the network"
    )


@pytest.mark.parametrize("address", ["http:///pile.npy", "http://[bad/pile.npy", "https://"])
def test_what_is_no_address(address: str) -> None:
    assert refusal(address) == f"{address} can't be read: it is no address of the web; check how it is written"


def test_a_certificate_that_nobody_signed(folder: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(1))
        .not_valid_after(today + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(private + certificate.public_bytes(pem))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    with serving(folder, tls) as address:
        said = refusal(f"https://{address}/whole/pile.npy")
    assert "can't be read: the certificate of its server is not valid here (self-signed certificate); " in said
    assert said.endswith("check the address, or name the authority that signed it in SSL_CERT_FILE")


def test_a_server_that_speaks_in_the_clear(server: str) -> None:
    said = refusal(f"{server.replace('http:', 'https:')}/whole/pile.npy")
    assert said.endswith("there is no secure connection to its server; check the address and its port")


@pytest.mark.parametrize("name", ["pile.npz", "binary.parquet"])
@pytest.mark.parametrize("mood", ["whole", "unsized"])
def test_a_server_without_ranges_says_what_to_do(mood: str, name: str, folder: Path, server: str) -> None:
    write(folder / name, np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8))
    said = refusal(f"{server}/{mood}/{name}")
    assert (
        "can't be read: its server sends files only whole, and of this format parts are read; download it and" in said
    )


@pytest.mark.parametrize("name", ["pile.npy", "pile.idx.gz", "pile.tar", "pile.tar.gz"])
def test_a_connection_that_breaks_off(name: str, images: Pixels, folder: Path, server: str) -> None:
    write(folder / name, images)
    assert refusal(f"{server}/half/{name}").endswith("the connection broke off before the end; try again")


def test_the_end_of_a_stream_is_asked_for_once(
    folder: Path, server: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """aiohttp warns of endless loops, with a stack, where gzip asks again and again."""
    black = png(np.zeros((28, 28), np.uint8))
    with tarfile.open(folder / "black.tar.gz", "w:gz") as tar:
        for row in range(3000):
            member = tarfile.TarInfo(f"{row:04}.png")
            member.size = len(black)
            tar.addfile(member, io.BytesIO(black))
    for mood in ("whole", "unsized"):
        assert len(pixels_of(read_all(open_images(f"{server}/{mood}/black.tar.gz")))) == 3000
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
