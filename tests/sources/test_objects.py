"""Piles on a real object store, on good days and bad."""

import pickle
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.sources import remote
from pipeline.sources import s3 as client
from pipeline.sources.images import Pixels, open_images
from pipeline.sources.places import Place, reported
from tests import proxies, stores
from tests.sources.piles import FORMATS, bad_of, labels_of, pixels_of, png, read_all, write
from tests.stores import upload


def find(address: str) -> Place:
    return remote.find_remote(address, "a pile")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str, images: Pixels, tmp_path: Path, s3: str) -> None:
    address = upload(write(tmp_path / name, images), s3)
    with open_images(address) as source:
        assert source.name == address
        assert np.array_equal(pixels_of(read_all(source, 4)), images)
        assert source.state() == source.state()
    with open_images(address) as source:
        assert np.array_equal(pixels_of(read_all(source, 4, start=5)), images[5:])


def test_patterns_folders_and_labels(images: Pixels, tmp_path: Path, s3: str) -> None:
    upload(write(tmp_path / "folder_of_png", images, [3] * 4 + [5] * 5), s3)
    for name in ("s-1.npy", "s-2.npy", "s-3.npy"):
        upload(write(tmp_path / name, images[:2]), s3)
    labels = upload(write(tmp_path / "labels.npy", np.arange(5, dtype=np.uint8)), s3)
    for pattern, count in {
        f"{s3}/**/5/*.png": 5,
        f"{s3}/folder_of_png/?/*.png": 9,
        f"{s3}/*/3/*.png": 4,
        f"{s3}/s-[12].npy": 4,
        f"{s3}/s-{{1..3}}.npy": 6,
    }.items():
        assert len(pixels_of(read_all(open_images(pattern)))) == count
    assert labels_of(read_all(open_images(f"{s3}/folder_of_png/"))) == [3] * 4 + [5] * 5
    assert labels_of(read_all(open_images(f"{s3}/folder_of_png/5", labels))) == list(range(5))
    with pytest.raises(DataError, match=r"s-4\.npy was not found; .* stands for it"):
        open_images(f"{s3}/s-{{1..4}}.npy")


def test_names_with_odd_signs_are_names(images: Pixels, tmp_path: Path, s3: str) -> None:
    for row, name in enumerate(("a[1].png", "b #?%41.png", "ä+&=.png")):
        (tmp_path / "odd").mkdir(exist_ok=True)
        (tmp_path / "odd" / name).write_bytes(png(images[row]))
    address = upload(tmp_path / "odd", s3)
    assert np.array_equal(pixels_of(read_all(open_images(address))), images[:3])
    assert np.array_equal(pixels_of(read_all(open_images(f"{address}/a[1].png"))), images[:1])


def test_the_marks_of_consoles_for_folders_are_no_files(images: Pixels, tmp_path: Path, s3: str) -> None:
    import boto3  # noqa: PLC0415

    address = upload(write(tmp_path / "folder_of_png", images, [3] * 4 + [5] * 5), s3)
    bucket, key = client.split(address)
    for folder in ("", "3/"):
        boto3.client("s3").put_object(Bucket=bucket, Key=f"{key}/{folder}")
    with open_images(address, strict=True) as source:
        assert len(pixels_of(read_all(source))) == 9


def test_what_is_not_there_is_named(s3: str) -> None:
    for address in (f"{s3}/nothing.npy", f"{s3}/nothing/"):
        with pytest.raises(DataError, match=f"^{address} was not found; expected an IDX"):
            open_images(address)
    with pytest.raises(DataError, match=r"\*\.png holds no image; expected"):
        open_images(f"{s3}/*.png")
    with pytest.raises(DataError, match="s3:// names no bucket; expected s3://bucket/name"):
        open_images("s3://")


def test_a_picture_that_vanishes_is_a_bad_row_and_a_new_one_another_state(
    images: Pixels, tmp_path: Path, s3: str
) -> None:
    address = upload(write(tmp_path / "folder_of_png", images), s3)
    source = open_images(address)
    before = source.state()
    bucket, key = client.split(address)
    client.connect(bucket).delete(f"{key}/0003.png")
    stretches = read_all(source, 4)
    assert bad_of(stretches) == {3: "0003.png can't be read (it was not found), expected a picture"}
    assert np.array_equal(pixels_of(stretches), np.delete(images, 3, axis=0))
    assert source.state() != before


def test_a_place_is_picklable_and_small(images: Pixels, tmp_path: Path, s3: str) -> None:
    place = find(upload(write(tmp_path / "folder_of_png", images), s3))
    names = list(place.entries())
    sent = pickle.dumps(place)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert list(again.entries()) == names
    assert [again.mark(name) for name in reversed(names)] == [place.mark(name) for name in reversed(names)]


CONTENT = np.random.default_rng(0).bytes(12_000_000)


@pytest.fixture
def large(s3: str, tmp_path: Path) -> Place:
    (tmp_path / "large").write_bytes(CONTENT)
    return find(upload(tmp_path / "large", s3))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 12_000_000), (5, 6), (7, 7), (3_000_001, 9_999_999), (11_999_990, 12_000_100)]
)
def test_a_span_is_one_request(start: int, stop: int, weather: proxies.Weather, large: Place) -> None:
    with large.span("large", start, stop) as file:
        found = b""
        while some := file.read(500_000):
            found += some
    assert found == CONTENT[start:stop]
    assert weather.reads("large") == ([f"bytes={start}-{stop - 1}"] if start < stop else [])


def test_a_span_past_the_end_is_empty(large: Place) -> None:
    assert large.span("large", 12_000_000, 12_000_001).read() == b""


def test_a_stream_is_one_request_and_tells_its_size(weather: proxies.Weather, large: Place) -> None:
    with large.open("large") as file:
        assert (file.seek(0, 2), file.seek(0)) == (12_000_000, 0)
        assert file.read() == CONTENT
    assert weather.reads("large") == [""]


def test_little_more_is_asked_for_than_is_wanted_unless_it_is_read_on(weather: proxies.Weather, large: Place) -> None:
    with large.open("large", seek=True) as file:
        for place in (11_999_000, 5_000_000, 17):
            assert file.seek(place) == file.tell() == place
            assert file.read(100) == CONTENT[place : place + 100]
        assert file.read() == CONTENT[117:]
    spans = [tuple(map(int, span.removeprefix("bytes=").split("-"))) for span in weather.reads("large")]
    assert [stop - start < 1 << 20 for start, stop in spans[:3]] == [True] * 3
    assert len(spans) <= 6


def test_an_array_is_read_in_few_requests_however_far_the_store_is(
    weather: proxies.Weather, tmp_path: Path, s3: str
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20_000, 28, 28), dtype=np.uint8)
    address = upload(write(tmp_path / "pile.npy", images), s3)
    weather.latency, weather.asked = 0.03, []
    assert np.array_equal(pixels_of(read_all(open_images(address), 256)), images)
    assert len(weather.asked) <= 6


def test_what_breaks_off_is_taken_up_where_it_was(weather: proxies.Weather, large: Place) -> None:
    weather.broken, weather.reached = 3, 2_500_000
    assert large.open("large").read() == CONTENT
    assert [span for span in weather.reads("large") if span][:1] > ["bytes=2"]


@pytest.mark.parametrize("content", [bytes(12_000_000), b"shorter"])
def test_what_was_replaced_while_it_was_read_is_told(
    content: bytes, weather: proxies.Weather, large: Place, s3: str
) -> None:
    weather.broken, weather.reached = 1, 5_000_000
    with large.open("large") as file:
        file.read(1_000_000)
        bucket, key = client.split(s3)
        client.connect(bucket).put(f"{key}/large", content)
        with pytest.raises(DataError, match="was replaced while it was read; run the same"), reported("large"):
            file.read()


@pytest.mark.parametrize("name", ["pile.npy", "binary.parquet", "folder_of_png", "pile.tar.gz"])
def test_a_store_that_is_busy_for_a_while_is_waited_for(
    name: str, weather: proxies.Weather, images: Pixels, tmp_path: Path, s3: str
) -> None:
    address = upload(write(tmp_path / name, images), s3)
    weather.busy = 5
    assert np.array_equal(pixels_of(read_all(open_images(address))), images)


@pytest.mark.parametrize("name", ["pile.npy", "binary.parquet", "folder_of_png", "pile.tar.gz"])
def test_a_store_that_is_busy_for_ever_is_given_up(
    name: str,
    weather: proxies.Weather,
    images: Pixels,
    tmp_path: Path,
    s3: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    address = upload(write(tmp_path / name, images), s3)
    source = open_images(address)
    for begun in (False, True):
        weather.busy = 1 << 30
        with pytest.raises(DataError) as error:
            read_all(source) if begun and name == "folder_of_png" else open_images(address)
        assert str(error.value).endswith("its server answered 503 Service Unavailable; try again later")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "its server does not know the access key; check AWS_ACCESS_KEY_ID and"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret key is not that of the access key; check AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "its server answered 403 Forbidden; check AWS_"),
        ({"AWS_PROFILE": "nobody"}, r"The config profile \(nobody\) could not be found; "),
    ],
)
@pytest.mark.parametrize("name", ["pile.npy", "folder/", "*.png"])
def test_wrong_keys_are_told_at_once(
    name: str,
    variables: dict[str, str | None],
    said: str,
    s3: str,
    object_store: stores.Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores.use(object_store, monkeypatch, **variables)
    start = time.monotonic()
    with pytest.raises(DataError, match=said) as error:
        open_images(f"{s3}/{name}")
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < client.PATIENCE / 2


def test_a_bucket_that_is_missing(s3: str) -> None:
    for name in ("pile.npy", "folder/", "*.png"):
        with pytest.raises(DataError, match="there is no such bucket; check its name, and AWS_ENDPOINT_URL"):
            open_images(f"s3://nowhere/{name}")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://127.0.0.1:{port}", "Connection refused; check AWS_ENDPOINT_URL, and whether the server runs"),
        ("http://nowhere.invalid", "its host is not known; check AWS_ENDPOINT_URL and the network"),
    ],
)
def test_an_endpoint_where_nobody_is(
    endpoint: str, said: str, s3: str, object_store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        stores.use(object_store, monkeypatch, AWS_ENDPOINT_URL=endpoint.format(port=taken.getsockname()[1]))
        with pytest.raises(DataError, match=f"can't be reached: {said}"):
            open_images(f"{s3}/pile.npy")


def test_keys_endpoint_and_region_may_stand_in_files(
    images: Pixels, tmp_path: Path, s3: str, object_store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = upload(write(tmp_path / "pile.npy", images), s3)
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nservices = here\n[services here]\ns3 =\n"
        f"  endpoint_url = {object_store.endpoint}\n"
    )
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = {object_store.key}\naws_secret_access_key = {object_store.secret}\n"
    )
    stores.use(object_store, monkeypatch, **dict.fromkeys(object_store.environment))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert np.array_equal(pixels_of(read_all(open_images(address))), images)


def test_without_a_client_it_is_said_what_to_install(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "is_s3", lambda _: False)
    with pytest.raises(DataError, match=r"can't be reached: .*; pip install 'mnist-vae-pipeline\[s3\]'$"):
        open_images(f"{s3}/pile.npy")


def test_nothing_of_s3_is_loaded_for_other_places(tmp_path: Path, images: Pixels) -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    write(tmp_path / "pile.npy", images)
    code = (
        "import sys; from pipeline.sources.images import open_images; "
        f"open_images('file://{tmp_path}/pile.npy').read(0, 1)(); print({{'boto3', 'obstore'}} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
