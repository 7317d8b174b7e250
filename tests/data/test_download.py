"""The four files come from a real web server on this machine, from a folder, or from the packaged sample.

The published files are large; here four small ones stand in their place, with their own checksums.
"""

import http.server
import json
import logging
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.datasets import DATASETS, MIRROR_VARIABLES, RawFile
from pipeline.data.download import download
from pipeline.data.raw import RAW_FILES, SOURCE_FILE, TEST_IMAGES
from pipeline.data.raw import TEST_LABELS as LABELS  # the first to be fetched
from pipeline.errors import ChecksumError, DataError, DownloadError, OutputError, ParamsError
from pipeline.params import Download
from pipeline.shared.files import sha256
from tests.prepared_digits import DOWNLOAD

AUTO, MNIST, SAMPLE = (DOWNLOAD.model_copy(update={"source": source}) for source in ("auto", "published", "sample"))
PLAIN = [name for name, dataset in DATASETS.items() if not dataset.members]
PACKED = [name for name, dataset in DATASETS.items() if dataset.members]


class Mirror(http.server.ThreadingHTTPServer):
    """Serves a folder, notes what it was asked for, and answers first with the statuses in `failures`."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.asked: list[str] = []
        self.failures: Iterator[int] = iter(())

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(http.server.SimpleHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.server.asked.append(name)
        failure = next(self.server.failures, 200)
        if failure != 200 or not (self.server.folder / name).is_file():
            self.send_error(failure if failure != 200 else 404)
            return
        content = (self.server.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if "gzip" in self.headers["Accept-Encoding"]:  # as some mirrors do; the client would unpack it
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


class CutOff(Answer):
    """Hangs up in the middle of a file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"\x1f\x8b" * 100)


def publish(monkeypatch: pytest.MonkeyPatch, name: str, files: Sequence[Path], *mirrors: str) -> None:
    """Have other files published, on mirrors of ours alone."""
    published = tuple(RawFile(file.name, file.stat().st_size, sha256(file)) for file in files)
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], files=published, mirrors=mirrors))


def of(dataset: str) -> Download:
    return DOWNLOAD.model_copy(update={"dataset": dataset})


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch, good: Path) -> None:
    """Small published files, no way out of this machine, and no second tries."""
    for name in PLAIN:
        publish(monkeypatch, name, [good / file for file in RAW_FILES])
    monkeypatch.setattr("pipeline.data.download._RETRIES", 0)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder with the four files as they were published."""
    folder = tmp_path / "good"
    folder.mkdir()
    for name in RAW_FILES:
        (folder / name).write_bytes(b"\x1f\x8b the bytes of " + name.encode())
    return folder


@pytest.fixture
def serve() -> Iterator[Callable[..., Mirror]]:
    """Start mirrors that stop with the test."""
    started: list[Mirror] = []

    def start(folder: Path, answer: type[Answer] = Answer, failures: Sequence[int] = ()) -> Mirror:
        mirror = Mirror(folder)
        mirror.RequestHandlerClass, mirror.failures = answer, iter(failures)
        threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        started.append(mirror)
        return mirror

    yield start
    for mirror in started:
        mirror.shutdown()
        mirror.server_close()


@pytest.fixture
def unreachable() -> Iterator[str]:
    """An address that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "data" / "raw"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SOURCE_FILE}


@pytest.mark.parametrize("kind", ["folder", "address", "address with a slash"])
def test_a_mirror_is_a_folder_or_an_address(kind: str, good: Path, raw: Path, serve: Callable[..., Mirror]) -> None:
    mirror = str(good) if kind == "folder" else serve(good).address
    result = download(AUTO, raw, mirror + "/" * kind.endswith("slash"))
    assert contents(raw) == contents(good)
    assert result == json.loads((raw / "source.json").read_text())
    assert result["source"] == "mnist"
    assert result["files"] == [
        {"name": name, "bytes": size, "sha256": digest} for name, size, digest in DATASETS["mnist"].files
    ]


@pytest.mark.parametrize("variable", MIRROR_VARIABLES)
def test_the_environment_may_name_the_mirror(variable: str, good: Path, raw: Path) -> None:
    params = ["--params", str(Path(__file__).parent.parent.parent / "params.yaml")]
    done = CliRunner().invoke(app, ["download", str(raw), *params], env={variable: str(good)})
    assert done.exit_code == 0, done.output
    assert contents(raw) == contents(good)


def test_others_may_read_what_was_fetched(good: Path, raw: Path) -> None:
    download(AUTO, raw, str(good))
    usual = good.joinpath(LABELS).stat().st_mode
    assert {path.stat().st_mode for path in raw.iterdir()} == {usual}


def test_good_files_are_not_fetched_again(good: Path, raw: Path, serve: Callable[..., Mirror]) -> None:
    mirror = serve(good)
    download(AUTO, raw, mirror.address)
    assert sorted(mirror.asked) == sorted(contents(good))

    mirror.asked.clear()
    (raw / LABELS).write_bytes(b"damaged")
    download(AUTO, raw, mirror.address)
    assert mirror.asked == [LABELS]
    assert contents(raw) == contents(good)


def test_good_files_need_no_mirror(good: Path, raw: Path, unreachable: str) -> None:
    download(MNIST, raw, str(good))
    assert download(MNIST, raw, unreachable)["source"] == "mnist"


def test_files_that_somebody_put_there_are_taken(good: Path, unreachable: str) -> None:
    assert download(AUTO, good, unreachable)["source"] == "mnist"


@pytest.mark.parametrize("trouble", ["unreachable", "404", "500", "cut off", "not an address"])
def test_the_next_mirror_is_tried(
    trouble: str,
    good: Path,
    raw: Path,
    serve: Callable[..., Mirror],
    unreachable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = {
        "unreachable": lambda: unreachable,
        "404": lambda: serve(raw).address,
        "500": lambda: serve(good, failures=[500] * 4).address,
        "cut off": lambda: serve(good, answer=CutOff).address,
        "not an address": lambda: "http://a..b/",
    }[trouble]()
    second = serve(good)
    publish(monkeypatch, "mnist", [good / file for file in RAW_FILES], first, second.address)
    assert download(MNIST, raw)["source"] == "mnist"
    assert len(second.asked) == 4
    assert contents(raw) == contents(good)


def test_a_mirror_that_fails_once_is_asked_again(
    good: Path, raw: Path, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.download._RETRIES", 1)
    mirror = serve(good, failures=[503])
    download(MNIST, raw, mirror.address)
    assert mirror.asked[:2] == [LABELS, LABELS]
    assert contents(raw) == contents(good)


@pytest.mark.parametrize("params", [AUTO, MNIST], ids=["auto", "mnist"])
def test_wrong_bytes_are_an_error_and_not_a_reason_to_look_elsewhere(
    params: Download,
    good: Path,
    raw: Path,
    tmp_path: Path,
    serve: Callable[..., Mirror],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / LABELS).write_bytes((good / LABELS).read_bytes()[:-1] + b"?")
    first, second = serve(bad), serve(good)
    publish(monkeypatch, "mnist", [good / file for file in RAW_FILES], first.address, second.address)
    with pytest.raises(ChecksumError, match=rf"{first.address} answered with other bytes for {LABELS}"):
        download(params, raw)
    assert not second.asked
    assert not list(raw.iterdir())


def test_wrong_bytes_in_a_folder_are_an_error(good: Path, raw: Path) -> None:
    (good / LABELS).write_bytes(b"hello")
    with pytest.raises(ChecksumError, match=r"5 bytes that start with b'hello', expected \d+ bytes with SHA-256"):
        download(AUTO, raw, str(good))
    assert not list(raw.iterdir())


def test_a_page_in_place_of_a_file_is_named_in_one_line(good: Path, raw: Path, serve: Callable[..., Mirror]) -> None:
    (good / LABELS).write_bytes(b"<!DOCTYPE html>\n<html>\nPlease log in\n</html>\n")
    with pytest.raises(ChecksumError, match=r"start with b'<!DOCTYPE ht'.*; use another mirror") as caught:
        download(AUTO, raw, serve(good).address)
    assert "\n" not in str(caught.value)


def test_without_any_mirror_mnist_fails_and_leaves_nothing(
    raw: Path, good: Path, serve: Callable[..., Mirror], unreachable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off, empty = serve(good, answer=CutOff).address, serve(raw).address
    publish(monkeypatch, "mnist", [good / file for file in RAW_FILES], unreachable, cut_off, empty)
    with pytest.raises(DownloadError, match="--mirror or VAE_MIRROR") as caught:
        download(MNIST, raw)
    for reason in (f"{unreachable} (ConnectionError)", cut_off, f"{empty} (HTTP 404)"):
        assert reason in str(caught.value)
    assert not list(raw.iterdir())


def test_without_any_mirror_auto_falls_back_to_the_sample_loudly(
    raw: Path, sample: Path, unreachable: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = download(AUTO, raw, unreachable)
    (warning,) = caplog.messages
    assert unreachable in warning
    assert "falling back to a SAMPLE of 5,000 digits" in warning
    assert result["source"] == json.loads((raw / "source.json").read_text())["source"] == "sample"
    assert contents(raw) == contents(sample)
    assert all(file["sha256"] == sha256(raw / file["name"]) for file in result["files"])


def test_the_sample_asks_no_mirror(good: Path, raw: Path, sample: Path, serve: Callable[..., Mirror]) -> None:
    mirror = serve(good)
    assert download(SAMPLE, raw, mirror.address)["source"] == "sample"
    assert not mirror.asked
    assert contents(raw) == contents(sample)


def test_a_folder_that_lacks_a_file_is_an_error(good: Path, raw: Path) -> None:
    (good / LABELS).unlink()
    with pytest.raises(DataError, match=rf"good has no {LABELS}; it should hold the original files of MNIST"):
        download(AUTO, raw, str(good))
    with pytest.raises(DataError, match=rf"nowhere has no {LABELS}"):
        download(AUTO, raw, "nowhere")


def test_a_folder_that_is_no_longer_complete_does_not_say_that_it_is(good: Path, raw: Path) -> None:
    download(AUTO, raw, str(good))
    (raw / LABELS).write_bytes(b"damaged")
    (good / LABELS).unlink()
    with pytest.raises(DataError):
        download(AUTO, raw, str(good))
    assert not (raw / "source.json").exists()


def test_a_file_in_place_of_the_folder_is_refused(good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file, a folder to write to was expected"):
        download(AUTO, tmp_path / "file", str(good))
    with pytest.raises(OutputError, match=r"cannot write .*/file/raw: Not a directory"):
        download(AUTO, tmp_path / "file" / "raw", str(good))


@pytest.mark.parametrize("name", PLAIN)
def test_a_data_set_says_what_it_shows(name: str, good: Path, raw: Path, serve: Callable[..., Mirror]) -> None:
    result = download(of(name), raw, serve(good).address)
    about = DATASETS[name].about
    assert result["source"] == name
    assert result["about"]["title"] == about.title
    assert tuple(result["about"]["classes"]) == about.classes
    assert contents(raw) == contents(good)


def test_another_data_set_than_mnist_has_no_sample(raw: Path, unreachable: str) -> None:
    with pytest.raises(DownloadError):
        download(of("kmnist"), raw, unreachable)
    with pytest.raises(ParamsError, match=r"download\.source is 'sample' and download\.dataset is 'kmnist'"):
        download(of("kmnist").model_copy(update={"source": "sample"}), raw)


def packed(name: str, folder: Path) -> dict[str, bytes]:
    """A zip of stand-ins for the splits of EMNIST, as it is published; returns the files of one split by raw name."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for dataset in PACKED:
            for member in DATASETS[dataset].members.values():
                archive.writestr(member, f"the bytes of {member}")
    return {raw: f"the bytes of {member}".encode() for raw, member in DATASETS[name].members.items()}


@pytest.mark.parametrize("name", PACKED)
def test_the_files_of_a_split_come_out_of_the_one_zip(
    name: str, tmp_path: Path, raw: Path, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = packed(name, tmp_path / "emnist")
    mirror = serve(tmp_path / "emnist")
    publish(monkeypatch, name, [tmp_path / "emnist/gzip.zip"], mirror.address)
    result = download(of(name), raw)
    assert result["transposed"]
    assert contents(raw) == expected
    assert download(of(name), raw) == result
    assert mirror.asked == ["gzip.zip"]  # once

    for damaged in (LABELS, SOURCE_FILE):
        (raw / damaged).write_bytes(b"damaged")
        assert download(of(name), raw) == result
        assert contents(raw) == expected
    assert mirror.asked == ["gzip.zip"] * 3


@pytest.mark.parametrize("below", ["", "gzip"])
def test_a_folder_may_hold_the_unpacked_files(below: str, tmp_path: Path, raw: Path) -> None:
    expected = packed("emnist-letters", tmp_path / "emnist")
    with zipfile.ZipFile(tmp_path / "emnist/gzip.zip") as archive:
        archive.extractall(tmp_path)
    assert download(of("emnist-letters"), raw, str(tmp_path / below))["first_label"] == 1
    assert contents(raw) == expected


def test_a_zip_with_other_bytes_is_refused(
    tmp_path: Path, raw: Path, serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed("emnist-digits", tmp_path / "emnist")
    publish(monkeypatch, "emnist-digits", [tmp_path / "emnist/gzip.zip"])
    (tmp_path / "emnist/gzip.zip").write_bytes(b"PK?")
    for mirror in (str(tmp_path / "emnist"), serve(tmp_path / "emnist").address):
        with pytest.raises(ChecksumError, match=r"other bytes for gzip\.zip"):
            download(of("emnist-digits"), raw, mirror)
    assert not list(raw.iterdir())


def test_one_data_set_after_another_takes_its_place(
    good: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(MNIST, raw, str(good))
    other = tmp_path / "fashion"
    other.mkdir()
    for name in RAW_FILES:
        (other / name).write_bytes(b"\x1f\x8b other bytes of " + name.encode())
    publish(monkeypatch, "fashion-mnist", [other / name for name in RAW_FILES])
    assert download(of("fashion-mnist"), raw, str(other))["source"] == "fashion-mnist"
    assert contents(raw) == contents(other)
    assert (raw / TEST_IMAGES).read_bytes() != (good / TEST_IMAGES).read_bytes()
