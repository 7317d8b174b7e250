"""A real object store for the tests: SeaweedFS, on free ports of this machine, until the tests end."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.sources import s3

BUCKET = "pile"
_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port", "s3.port.grpc", "admin.port", "admin.port.grpc"),
)
_OFF = ("s3.port.iceberg=0", "s3.port.lance=0", "webdav=false", "admin.ui=false", "master.telemetry=false")
_TRIES, _PATIENCE = 3, 60  # of finding free ports; seconds until it answers, on a busy machine


@dataclass(frozen=True)
class Store:
    """An S3 server, and who may use it."""

    endpoint: str
    key: str
    secret: str
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which every S3 tool finds it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
        }


def use(store: Store, monkeypatch: pytest.MonkeyPatch, **other: str | None) -> None:
    """Make it the S3 of this process, and nothing of who runs the tests; `other` variables go before."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    for name, value in {**nowhere, "AWS_EC2_METADATA_DISABLED": "true", **store.environment, **other}.items():
        if value is not None:
            monkeypatch.setenv(name, value)


def new_address(beneath: str = "") -> str:
    """An address in the bucket where nothing lies yet."""
    return f"s3://{BUCKET}/{beneath}{uuid.uuid4().hex[:12]}"


def upload(path: Path, address: str) -> str:
    """Send a file, or all below a folder, below an address; returns where it is then."""
    bucket, key = s3.split(address)
    store = s3.connect(bucket)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            store.put(f"{key}/{file.relative_to(path.parent).as_posix()}", file)
    return f"{address}/{path.name}"


def missing() -> str | None:
    """What is not installed that a test on S3 needs."""
    return next(
        (
            f"{name} is not installed; pip install '.[dev]'"
            for name, there in (("obstore", find_spec("obstore")), ("boto3", find_spec("boto3")), ("weed", _weed()))
            if not there
        ),
        None,
    )


def _weed() -> str | None:
    return shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


@contextlib.contextmanager
def serving() -> Iterator[Store]:
    """SeaweedFS with one empty bucket. Skips, or under VAE_CLUSTER=required fails, where it is not installed."""
    if lack := missing():
        if os.environ.get("VAE_CLUSTER") == "required":
            pytest.fail(lack)
        pytest.skip(lack)
    folder = Path(tempfile.mkdtemp(prefix="weed-"))  # a short path: there will be sockets in it
    try:
        for left in reversed(range(_TRIES)):
            process, store = _start(folder)
            try:
                if _answers(process, store):
                    yield store
                    return
                if not left:
                    pytest.fail(f"SeaweedFS did not start: {store.log.read_text(errors='replace')[-2000:]}")
            finally:
                _end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], Store]:
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    store = Store(f"http://127.0.0.1:{ports['s3.port']}", "tester", uuid.uuid4().hex, folder / "log")
    (folder / "data").mkdir(exist_ok=True)
    command = [
        *(str(_weed()), "-logtostderr", "mini", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={port}" for name, port in ports.items()),
        *(f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"),
        *(f"-bucket={BUCKET}", "-s3.autoCreateBucket=false", *(f"-{off}" for off in _OFF)),
    ]
    environment = {**os.environ, "GOMEMLIMIT": "200MiB", "GOMAXPROCS": "2", "HOME": str(folder)}
    environment |= {"AWS_ACCESS_KEY_ID": store.key, "AWS_SECRET_ACCESS_KEY": store.secret}
    with store.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_parent,  # noqa: PLW1509
        )
    return process, store


def _answers(process: subprocess.Popen[bytes], store: Store) -> bool:
    """Whether its bucket can be written to, after a while."""
    from obstore.store import S3Store  # noqa: PLC0415

    client = S3Store(
        BUCKET,
        endpoint=store.endpoint,
        access_key_id=store.key,
        secret_access_key=store.secret,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(Exception):
            client.put("ready", b"yes")
            client.delete("ready")
            return True
        time.sleep(0.1)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> None:
    """However that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
