"""Stage `download`: the four raw files of a data set, from a mirror, a local folder or your own images."""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pooch
from requests.exceptions import HTTPError, RequestException
from tqdm import tqdm

from pipeline.data.datasets import DATASETS, MIRROR_VARIABLES, Dataset, RawFile
from pipeline.data.own import write_own
from pipeline.data.prepared import read_json
from pipeline.data.raw import RAW_FILES, SOURCE_FILE
from pipeline.data.sample import write_sample
from pipeline.errors import ChecksumError, DataError, DownloadError, ParamsError
from pipeline.shared.files import atomic_file, explained, make_readable, refuse_foreign, sha256, write_json

if TYPE_CHECKING:
    from pipeline.params import Download

log = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)

_TIMEOUT_S = (5, 30)  # to connect, and between two pieces
_RETRIES = 2  # after 1 s and 2 s
_MNIST, _OWN, _SAMPLE = "mnist", "own", "sample"


def download(params: Download, folder: Path, mirror: str | None = None) -> dict[str, Any]:
    """Put the four files and `source.json` into `folder`; good files already there are kept.

    Args:
        params: which data set, and from where.
        folder: the destination, made if missing.
        mirror: a local folder or an address to take instead of the known mirrors.

    Returns:
        What `source.json` says: `source` (the data set, or `sample`), what it shows (`about`, see `prepared.About`),
        what `prepare` has to do to it (`transposed`, `first_label`), and name, size and SHA-256 of each file.

    Raises:
        DownloadError: no mirror could be reached, and the sample is no way out.
        DataError: a local mirror lacks a file, or is neither a folder nor an address; or your own images can't be used.
        ChecksumError: a mirror answered with other bytes than the published ones.
        ParamsError: the sample of another data set than MNIST was asked for.
        OutputError: `folder` cannot be written.
    """
    if mirror and "://" in mirror and not _is_address(mirror):
        raise DataError(f"{mirror} is no mirror; expected a folder or an address that starts with http:// or https://")
    if params.source == _SAMPLE and params.dataset != _MNIST:
        raise ParamsError(
            f"download.source is {_SAMPLE!r} and download.dataset is {params.dataset!r}: the sample is of {_MNIST}; "
            "change one of them"
        )
    refuse_foreign(folder, owns=[*RAW_FILES, SOURCE_FILE, "tmp*", ".*"])
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        unpacked = _unpacked_before(folder, params.dataset)
        (folder / SOURCE_FILE).unlink(missing_ok=True)  # written last, it says that the folder is complete
        content: dict[str, Any] = {"source": params.dataset}
        if params.dataset == _OWN:
            content |= {"about": write_own(params, folder).as_json(), "transposed": False, "first_label": 0}
        else:
            dataset = DATASETS[params.dataset]
            content |= {
                "about": dataset.about.as_json(),
                "transposed": dataset.transposed,
                "first_label": dataset.first_label,
            }
            if params.source == _SAMPLE:
                write_sample(folder)
                content["source"] = _SAMPLE
            elif not unpacked:
                content["source"] = _fill(folder, params, [mirror] if mirror else dataset.mirrors)
    files = [folder / name for name in RAW_FILES if (folder / name).exists()]
    content["files"] = [{"name": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)} for file in files]
    write_json(folder / SOURCE_FILE, content)
    return content


def _is_address(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def _unpacked_before(folder: Path, dataset: str) -> bool:
    """Whether an earlier run took the files out of the archive of this data set: they have no published checksums."""
    if dataset not in DATASETS or not DATASETS[dataset].members:
        return False
    try:
        recorded = read_json(folder / SOURCE_FILE, "download")
        digests = {file["name"]: file["sha256"] for file in recorded["files"]}
        return recorded["source"] == dataset and all(sha256(folder / name) == digests[name] for name in RAW_FILES)
    except (DataError, KeyError, TypeError, FileNotFoundError):
        return False


def _fill(folder: Path, params: Download, mirrors: Sequence[str]) -> str:
    """Put the four files into `folder`; returns which source they are from."""
    dataset = DATASETS[params.dataset]
    try:
        if dataset.members:
            _unpack(dataset, folder, mirrors)
        else:
            for file in dataset.files:
                _fetch(file, folder, mirrors, dataset.about.title)
    except DownloadError as error:
        if params.source != "auto" or params.dataset != _MNIST:
            raise
        log.warning(
            "WARNING: %s\nWARNING: falling back to a SAMPLE of 5,000 digits; figures will be worse than "
            "those of the full MNIST.\nWARNING: once a mirror answers: dvc repro --force download, then make repro",
            error,
        )
        write_sample(folder)
        return _SAMPLE
    return params.dataset


def _unpack(dataset: Dataset, folder: Path, mirrors: Sequence[str]) -> None:
    """Take the four files out of the one zip, or from a local folder into which somebody unpacked it."""
    (archive,) = dataset.files
    with tempfile.TemporaryDirectory(prefix="tmp", dir=folder) as beside:
        for mirror in mirrors:
            loose = None if _is_address(mirror) else _loose(Path(mirror), dataset.members)
            if loose:
                # No checksums of these are published; gzip has its own, which `prepare` compares.
                for name, path in loose.items():
                    with atomic_file(folder / name) as copy:
                        shutil.copyfile(path, copy)
                return
        _fetch(archive, Path(beside), mirrors, dataset.about.title)
        with zipfile.ZipFile(Path(beside) / archive.name) as content:
            for name, member in dataset.members.items():
                with atomic_file(folder / name) as copy, content.open(member) as packed, copy.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)


def _loose(folder: Path, members: Mapping[str, str]) -> dict[str, Path] | None:
    """The members by raw name where `folder` holds all of them, in the zip's subfolder or out of it."""
    for found in (
        {name: folder / member for name, member in members.items()},
        {name: folder / Path(member).name for name, member in members.items()},
    ):
        if all(path.is_file() for path in found.values()):
            return found
    return None


def _fetch(file: RawFile, folder: Path, mirrors: Sequence[str], title: str) -> None:
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
            raise DataError(f"{mirror} has no {file.name}; it should hold the original files of {title}") from None
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
        f"name a folder or an address that holds it with --mirror or {MIRROR_VARIABLES[0]}"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    return type(error).__name__


Transfer = Callable[[str, str, RawFile], None]


def _noting(found: dict[str, Any], transfer: Transfer, file: RawFile) -> Callable[..., None]:
    """A pooch downloader that leaves in `found` what came, for the message if it is wrong."""

    def downloader(url: str, output: str, _pooch: Any) -> None:
        transfer(url, output, file)
        with Path(output).open("rb") as content:
            found.update(bytes=Path(output).stat().st_size, start=content.read(12))
        make_readable(Path(output))

    return downloader


def _over_http(url: str, output: str, file: RawFile) -> None:
    with tqdm(total=file.bytes, desc=file.name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        # Without `identity` a server may send the gzip file as a gzip encoding, which requests would undo.
        headers = {"Accept-Encoding": "identity"}
        pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT_S, headers=headers)(
            url, output, None
        )


def _from_folder(url: str, output: str, _file: RawFile) -> None:
    Path(output).write_bytes(Path(url).read_bytes())
