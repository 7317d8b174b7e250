"""Stage `download`: the four IDX files, from a mirror, a local folder or the packaged sample."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pooch
from requests.exceptions import HTTPError, RequestException
from tqdm import tqdm

from pipeline.data import mnist
from pipeline.data.sample import write_sample
from pipeline.errors import ChecksumError, DataError, DownloadError
from pipeline.shared.files import explained, make_readable, refuse_foreign, sha256, write_json

if TYPE_CHECKING:
    from pipeline.params import Download

log = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)

_TIMEOUT_S = (5, 30)  # to connect, and between two pieces
_RETRIES = 2  # after 1 s and 2 s


def download(params: Download, folder: Path, mirror: str | None = None) -> dict[str, Any]:
    """Put the four files and `source.json` into `folder`; good files already there are kept.

    Args:
        params: which source to use.
        folder: the destination, made if missing.
        mirror: a local folder or an address to take instead of the known mirrors.

    Returns:
        What `source.json` says: `source` (`mnist` or `sample`) and name, size and SHA-256 of each file.

    Raises:
        DownloadError: the source is `mnist` and no mirror could be reached.
        DataError: a local mirror lacks a file, or is neither a folder nor an address.
        ChecksumError: a mirror answered with other bytes than the published ones.
        OutputError: `folder` cannot be written.
    """
    if mirror and "://" in mirror and not _is_address(mirror):
        raise DataError(f"{mirror} is no mirror; expected a folder or an address that starts with http:// or https://")
    refuse_foreign(folder, owns=[*(file.name for file in mnist.FILES), mnist.SOURCE_FILE, "tmp*", ".*"])
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / mnist.SOURCE_FILE).unlink(missing_ok=True)  # written last, it says that the folder is complete
        source = _fill(folder, params.source, [mirror] if mirror else mnist.MIRRORS)
    content = {
        "source": source,
        "files": [
            {
                "name": file.name,
                "bytes": (folder / file.name).stat().st_size,
                "sha256": sha256(folder / file.name),
            }
            for file in mnist.FILES
        ],
    }
    write_json(folder / mnist.SOURCE_FILE, content)
    return content


def _is_address(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def _fill(folder: Path, source: str, mirrors: Sequence[str]) -> str:
    """Put the four files into `folder`; returns which source they are from."""
    if source != "sample":
        try:
            for file in mnist.FILES:
                _fetch(file, folder, mirrors)
        except DownloadError as error:
            if source == "mnist":
                raise
            log.warning(
                "WARNING: %s\nWARNING: falling back to a SAMPLE of 5,000 digits; figures will be worse than "
                "those of the full MNIST.\nWARNING: once a mirror answers: dvc repro --force download, then make repro",
                error,
            )
        else:
            return "mnist"
    write_sample(folder)
    return "sample"


def _fetch(file: mnist.RawFile, folder: Path, mirrors: Sequence[str]) -> None:
    """Try one mirror after the other; `DownloadError` if none can be reached."""
    reasons = []
    for mirror in mirrors:
        found: dict[str, Any] = {}
        remote = _is_address(mirror)
        fetcher = pooch.create(
            path=folder,
            base_url=mirror.rstrip("/") + "/",
            registry={file.name: f"sha256:{file.sha256}"},
            retry_if_failed=_RETRIES if remote else 0,
        )
        transfer = _over_http if remote else _from_folder
        try:
            fetcher.fetch(file.name, downloader=_noting(found, transfer, file))
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{mirror} has no {file.name}; it should hold the four original MNIST files") from None
        except (RequestException, ValueError) as error:  # ValueError: other bytes, or an address that is none
            if found:
                raise ChecksumError(
                    f"{mirror} answered with other bytes for {file.name}: {found['bytes']:,} bytes that start with "
                    f"{found['start']!r}, expected {file.bytes:,} bytes with SHA-256 {file.sha256[:16]}...; "
                    "use another mirror"
                ) from error
            reasons.append(f"{mirror} ({_reason(error)})")
            log.info("%s: nothing from %s (%s)", file.name, mirror, _reason(error))
        else:
            if found:
                log.info("%s: %s bytes from %s", file.name, f"{file.bytes:,}", mirror)
            return
    raise DownloadError(
        f"no mirror could be reached for {file.name}: {', '.join(reasons)}; "
        f"name a folder or an address that holds it with --mirror or {mnist.MIRROR_VARIABLE}"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    return type(error).__name__


Transfer = Callable[[str, str, mnist.RawFile], None]


def _noting(found: dict[str, Any], transfer: Transfer, file: mnist.RawFile) -> Callable[..., None]:
    """A pooch downloader that leaves in `found` what came, for the message if it is wrong."""

    def downloader(url: str, output: str, _pooch: Any) -> None:
        transfer(url, output, file)
        with Path(output).open("rb") as content:
            found.update(bytes=Path(output).stat().st_size, start=content.read(12))
        make_readable(Path(output))

    return downloader


def _over_http(url: str, output: str, file: mnist.RawFile) -> None:
    with tqdm(total=file.bytes, desc=file.name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        # Without `identity` a server may send the gzip file as a gzip encoding, which requests would undo.
        headers = {"Accept-Encoding": "identity"}
        pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT_S, headers=headers)(
            url, output, None
        )


def _from_folder(url: str, output: str, _file: mnist.RawFile) -> None:
    Path(output).write_bytes(Path(url).read_bytes())
