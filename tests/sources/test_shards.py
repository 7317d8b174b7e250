"""Tar files in WebDataset's convention are read as they were written, whole or not at all."""

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import DataError, FormatError
from pipeline.sources.images import ImageSource, Pixels, open_images
from tests.sources.piles import bad_of, labels_of, pixels_of, png, read_all, tar, write


def opened(path: Path, members: dict[str, bytes]) -> ImageSource:
    path.write_bytes(tar(members))
    return open_images(path)


def test_members_of_one_row_share_the_path_up_to_the_suffix(images: Pixels, tmp_path: Path) -> None:
    members = {
        "./a/0001.cls": b"7\n",
        "./a/0001.png": png(images[0]),
        "./a/0001.json": b"{}",
        "./a/0001.seg.png": b"a mask",
        "./a/0001.Mask.PNG": b"a mask",
        "./b/0001.PNG": png(images[1]),
        "./b/._0001.png": b"of macOS",
        "readme.txt": b"not a row",
        "0002.png": png(images[2]),
        "0002.cls": b" 255",
        "a.png": png(images[3]),
        "b.v2.png": png(images[4]),
        "b.v2.cls": b"3",
        "b.v3.png": png(images[5]),
        ".git/x.png": b"hidden",
        "no_suffix": b"",
    }
    source = opened(tmp_path / "pile.tar", members)
    stretches = read_all(source, 2)
    assert np.array_equal(pixels_of(stretches), images[:6])
    assert labels_of(stretches) == [7, -1, 255, -1, 3, -1]
    assert source.passed_over == {
        ".json": 1, ".seg.png": 1, ".mask.png": 1, "hidden": 2, ".txt": 1, "without a suffix": 1,
    }  # fmt: skip
    kept = ["./a/0001.png", "./b/0001.PNG", "0002.png", "a.png", "b.v2.png", "b.v3.png"]
    assert [name for rows in stretches for name in rows.names or ()] == [f"pile.tar: {name}" for name in kept]


@pytest.mark.parametrize("name", ["0.webm", "readme.txt", "0.json", "0.seg.png", ".hidden"])
def test_a_strict_reader_refuses_what_it_would_pass_over(name: str, images: Pixels, tmp_path: Path) -> None:
    members = {"0.png": png(images[0]), "0.cls": b"7"}
    (tmp_path / "pile.tar").write_bytes(tar(members))
    assert len(read_all(open_images(tmp_path / "pile.tar", strict=True))[0].images) == 1
    (tmp_path / "pile.tar").write_bytes(tar({**members, name: b"what else there is"}))
    with pytest.raises(FormatError, match=rf"pile\.tar holds {name}, no picture or label that is read; leave --strict"):
        read_all(open_images(tmp_path / "pile.tar", strict=True))


def repacked(kind: int, member: Callable[[tarfile.TarInfo], None], images: Pixels) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for number, image in enumerate(images):
            about = tarfile.TarInfo(f"{number}.png")
            about.size = len(content := png(image))
            member(about)
            archive.addfile(about, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "{}.png"),
        ("name", "./{}.png"),
        ("name", "x" * 60 + "/" + "y" * 90 + "{}.png"),  # two pieces, or a header of its own
        ("name", "\u96f6{}.png"),
        ("name", "\udcff{}.png"),
        ("mtime", 1.5),
        ("uid", 1 << 20),
        ("type", b"\0"),
        ("type", b"7"),
    ],
)
def test_members_are_found_however_they_are_described(
    kind: int, field: str, value: str, images: Pixels, tmp_path: Path
) -> None:
    def change(about: tarfile.TarInfo) -> None:
        setattr(about, field, value.format(about.name[0]) if field == "name" else value)

    if kind == tarfile.USTAR_FORMAT and field == "mtime":
        pytest.skip("whole seconds")
    (tmp_path / "pile.tar").write_bytes(repacked(kind, change, images))
    with tarfile.open(tmp_path / "pile.tar") as archive:
        expected = [f"pile.tar: {member.name}" for member in archive if not member.isdir()]
    (rows,) = read_all(open_images(tmp_path / "pile.tar"))
    assert np.array_equal(rows.images, images)
    assert list(rows.names or ()) == expected


def test_members_of_any_size_are_read_or_said_to_be_too_large(images: Pixels, tmp_path: Path) -> None:
    padded = png(images[0], "PNG", pnginfo=padding(3 << 20))
    members = {"0.png": padded, "1.png": bytes((64 << 20) + 1), "2.bin": bytes(70 << 20), "3.png": png(images[3])}
    source = opened(tmp_path / "pile.tar", members)
    (rows,) = read_all(source)
    assert np.array_equal(rows.images, images[[0, 3]])
    assert bad_of([rows]) == {1: "pile.tar: 1.png takes 67,108,865 bytes, expected at most 67,108,864"}
    assert source.passed_over == {".bin": 1}


def padding(size: int) -> PngInfo:
    text = PngInfo()
    text.add_text("comment", "x" * size)
    return text


def test_rows_that_are_no_image_are_bad(images: Pixels, tmp_path: Path) -> None:
    good = png(images[0])
    members = {
        "0.png": b"",
        "1.cls": b"1",
        "2.png": good,
        "2.jpg": good,
        "3.png": good,
        "3.cls": b"seven",
        "4.png": good,
        "4.cls": b"256",
        "5.png": good,
        "5.cls": b"5",
    }
    stretches = read_all(opened(tmp_path / "pile.tar", members))
    assert [bad.name for bad in stretches[0].bad][1] == f"{tmp_path}/pile.tar: 1.cls"
    assert bad_of(stretches) == {
        0: "pile.tar: 0.png starts with b'', expected a PNG, JPEG, WebP, BMP, TIFF or GIF picture",
        1: "pile.tar: 1.cls has 0 pictures, expected one",
        2: "pile.tar: 2.jpg has 2 pictures, expected one",
        3: "pile.tar: 3.png has the label 'seven', expected a whole number from 0 to 255",
        4: "pile.tar: 4.png has the label '256', expected a whole number from 0 to 255",
    }
    assert labels_of(stretches) == [5]
    assert [rows.stop for rows in stretches] == [6]


def test_links_are_bad_rows(images: Pixels, tmp_path: Path) -> None:
    file = io.BytesIO(tar({"0.png": png(images[0])}))
    with tarfile.open(fileobj=file, mode="a") as archive:
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "pile.tar").write_bytes(file.getvalue())
    assert bad_of(read_all(open_images(tmp_path / "pile.tar"))) == {1: "pile.tar: 1.png is no plain file, expected one"}


def test_the_end_is_found_by_reading(images: Pixels, tmp_path: Path) -> None:
    with open_images(write(tmp_path / "pile.tar", images)) as source:
        assert (source.count, source.end) == (None, None)
        first, second, third = source.read(0, 5), source.read(5, 10), source.read(10, 15)
        assert source.end == 9
    assert [(rows.start, rows.stop, len(rows.images)) for rows in (first(), second(), third())] == [
        (0, 5, 5),
        (5, 9, 4),
        (10, 10, 0),
    ]


def test_keys_do_not_run_over_from_one_file_to_the_next(images: Pixels, tmp_path: Path) -> None:
    for shard in range(3):
        (tmp_path / f"s-{shard}.tar").write_bytes(tar({"0.png": png(images[shard])}))
    (tmp_path / "index.json").touch()
    for path in (tmp_path, tmp_path / "s-*.tar", tmp_path / "s-[0-2].tar"):
        assert np.array_equal(pixels_of(read_all(open_images(path), 2)), images[:3])


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_truncated_archive_is_named(suffix: str, images: Pixels, tmp_path: Path) -> None:
    path = tmp_path / f"pile{suffix}"
    whole = tar({f"{number}.png": png(image) for number, image in enumerate(images)}, gz=suffix == ".tar.gz")
    step = 512 if suffix == ".tar" else 97
    end = len(whole.rstrip(b"\0")) if suffix == ".tar" else len(whole)
    for length in range(step, end, step):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=rf"pile{suffix} is truncated or damaged"), open_images(path) as source:
            read_all(source)


def test_an_archive_within_is_not_taken_for_the_whole(images: Pixels, tmp_path: Path) -> None:
    one, other = tar({"0.png": png(images[0])}), tar({"1.png": png(images[1])})
    (tmp_path / "pile.tar").write_bytes(one + other)
    with pytest.raises(FormatError, match="or several archives in one; fetch it again or name them one by one"):
        read_all(open_images(tmp_path / "pile.tar"))
    broken = bytearray(tar({"0.png": png(images[0]), "1.png": png(images[1]), "2.png": png(images[2])}))
    broken[broken.index(b"1.png")] ^= 1  # its header no longer matches its checksum
    (tmp_path / "pile.tar").write_bytes(broken)
    with pytest.raises(FormatError, match=r"is truncated or damaged at byte \d"):
        read_all(open_images(tmp_path / "pile.tar"))


def test_an_archive_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pile\.tar holds no image; expected members like 0007\.png"):
        opened(tmp_path / "pile.tar", {"readme.txt": b"nothing"})


@pytest.mark.parametrize("start", [0, 40])
def test_pictures_that_take_much_wait_in_bounded_memory(start: int, images: Pixels, tmp_path: Path) -> None:
    content = png(images[0], "PNG", pnginfo=padding(4 << 20))
    (tmp_path / "pile.tar").write_bytes(tar({f"{number}.png": content for number in range(60)}))
    with open_images(tmp_path / "pile.tar") as source:
        tracemalloc.start()
        rows = source.read(start, 60)()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(rows.images) == 60 - start
    assert peak < 160 << 20  # of 240 MiB
