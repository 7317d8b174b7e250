"""The client of S3, and of servers that speak like it: one for piles and results, by obstore.

obstore is a thin layer over the Rust library object_store: it reads faster than s3fs, with fewer copies, and can create
an object only if there is none. Endpoint, region and keys are found as boto3 and the AWS command line find them.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.sources.failures import explain, is_unreachable
from pipeline.sources.places import Names

PATIENCE = 120.0
"""Seconds after which a request that a server answers with 5xx, or not at all, is not made again."""
_FIRST = 5.0
"""The same, of the first one: whoever mistyped an endpoint need not wait long."""
_SILENCE = 60.0
"""Seconds without a byte after which a connection counts as broken."""
_LONGEST = 24 * 3600.0
"""Seconds that the body of one answer may take, for it is read as fast as a job works."""
_PAUSES = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2}
INSTALL = "pip install 'mnist-vae-pipeline[s3]'"
"""What to do where there is no client."""
_REGION = "us-east-1"
"""Of servers that have none."""


def is_s3(address: str) -> bool:
    """Whether it is an address that this module has the client for."""
    return address.startswith("s3://") and find_spec("obstore") is not None and find_spec("boto3") is not None


def split(address: str) -> tuple[str, str]:
    """The bucket and the key in an address, the key without slashes at its ends."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key.strip("/")


def connect(bucket: str, patience: float | None = None) -> Any:
    """The client of a bucket, an `obstore.store.S3Store`, the same one for the whole process.

    Args:
        bucket: its name.
        patience: seconds for which a failed request is made again; of 0, it is made once. By default `PATIENCE`.

    Raises:
        DataError: the configuration is wrong, or nobody answers at the endpoint.
    """
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    try:
        _greet(bucket, settings)
        return _client(bucket, PATIENCE if patience is None else patience, settings)
    except Exception as error:
        found, advice = explain(error)
        raise DataError(f"s3://{bucket} can't be reached: {found}; {advice}") from error


@lru_cache(maxsize=16)
def _greet(bucket: str, settings: tuple[tuple[str, str], ...]) -> None:
    """Ask for anything, and raise if nobody is there to answer."""
    try:
        _client(bucket, min(_FIRST, PATIENCE), settings).head("_")
    except Exception as error:
        if is_unreachable(error):
            raise


@lru_cache(maxsize=16)
def _client(bucket: str, patience: float, settings: tuple[tuple[str, str], ...]) -> Any:  # noqa: ARG001
    import boto3  # noqa: PLC0415
    from botocore.configprovider import ConfiguredEndpointProvider  # noqa: PLC0415
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    session = boto3.Session()
    core = session._session
    endpoint = ConfiguredEndpointProvider(core.full_config, core.get_scoped_config(), "s3").provide()
    http: dict[str, Any] = {
        "timeout": timedelta(seconds=_LONGEST),
        "read_timeout": timedelta(seconds=_SILENCE),
        "connect_timeout": timedelta(seconds=5),
        "allow_http": (endpoint or "").startswith("http://"),
    }
    if authority := core.get_config_variable("ca_bundle"):
        http["root_certificate"] = Path(authority).read_bytes()
    retries = {"max_retries": 1000 if patience else 0, "retry_timeout": timedelta(seconds=patience), "backoff": _PAUSES}
    choices: dict[str, Any] = {"client_options": http, "retry_config": retries}
    choices["region"] = os.environ.get("AWS_REGION") or session.region_name or _REGION
    if endpoint:
        choices["endpoint"] = endpoint
    if session.get_credentials():
        choices["credential_provider"] = Boto3CredentialProvider(session)
    else:
        choices["skip_signature"] = True  # a public bucket
    return S3Store(bucket, **choices)


def is_there(client: Any, folder: str) -> bool:
    """Whether anything lies below a folder."""
    return any(client.list(folder or None, chunk_size=1))


def listed(client: Any, folder: str) -> Iterator[tuple[str, str]]:
    """The keys of all objects below a folder, sorted as text, and what tells each from another of that key.

    They are held as their bytes, since AWS lists in this order, but not all servers do.
    """
    held, last, in_order = Names(), "", True
    for some in client.list(folder or None, chunk_size=1000):
        for about in some:
            line = f"{about['path']}\0{mark_of(about)}"
            in_order &= last <= line
            last = line
            held.append(line)
    for line in held if in_order else sorted(held):
        key, _, mark = line.partition("\0")
        # Consoles mark folders with empty objects, of which obstore hides the last slash.
        if not (mark.startswith("0 ") and (key in held.folders or key == folder)):
            yield key, mark


def mark_of(about: dict[str, Any]) -> str:
    """What tells an object from another of the same key: its size, and its tag or time."""
    return f"{about['size']} {about['e_tag'] or about['last_modified'].isoformat()}"


def head(client: Any, key: str) -> dict[str, Any] | None:
    """What the server says of an object; None if there is none."""
    with suppress(FileNotFoundError):
        return client.head(key)  # type: ignore[no-any-return]
    return None
