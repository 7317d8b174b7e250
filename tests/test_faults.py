"""What a batch job survives: its own end at any moment, full disks, sources and folders that change under it."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.cli import app, main
from pipeline.errors import PipelineError
from pipeline.jobs.parts import ROWS_PER_PART
from tests import onnx_models
from tests.sources.piles import png
from tests.test_house import ROOT

VAE = Path(sys.executable).parent / "vae"
ROWS = 250_000  # 4 parts
ENCODE = ["encode", "images.npy", "--encoder", "encoder", "-o", "job/out", "--json"]
SPACE = "job/.out.partial"
GENERATE = ["generate", "--count", "140000", "--decoder", "decoder", "-o", "job/out", "--json"]
SCORE = ["score", "images.npy", "--limit", "140000", "--most", "20", "--scorer", "scorer", "-o", "job/out", "--json"]


def vae(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The installed command, as a user starts it, to its end."""
    command = [VAE, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.fixture(autouse=True)
def hear_ctrl_c() -> Iterator[None]:
    """Shells have what they start in the background ignore it, and so would the jobs of tests that run there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def again(*arguments: str, cwd: Path) -> tuple[int, dict[str, Any], str]:
    """The same without a process of its own, which takes a fifth of the time; its exit status, results and notes."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, [*arguments])
    said = done.stderr + (f"error: {done.exception}" if isinstance(done.exception, PipelineError | OSError) else "")
    return done.exit_code, json.loads(done.stdout or "{}"), said


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The same, while it runs."""
    return subprocess.Popen([VAE, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(job: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what it said to the user."""
    _, stderr = job.communicate(timeout=60)
    return job.returncode, stderr


def wait_for(path: Path, job: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert job.poll() is None, job.communicate()
        time.sleep(0.001)


def content(folder: Path) -> dict[str, str]:
    """Everything below a folder, hidden files too, with the digest of each file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "/"
        for path in sorted(folder.rglob("*"))
    }


def resumed(place: Path, *command: str) -> int:
    """How many parts a job takes over when it is run again, to its good end."""
    code, summary, said = again(*command, cwd=place)
    assert code == 0, said
    return int(summary["resumed_parts"])


def sparse_pile(path: Path, rows: int) -> Path:
    """Images as `.npy`, of which every 512th takes room on the disk."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, 28, 28))
    images[::512] = np.random.default_rng(rows).integers(0, 256, (len(images[::512]), 28, 28), np.uint8)
    return path


@dataclass(frozen=True)
class Bench:
    """Models and images in `folder`, and what the jobs leave there uninterrupted."""

    folder: Path
    whole: dict[str, dict[str, str]]
    seconds: dict[str, float]
    parts: dict[str, int]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    onnx_models.save(onnx_models.encoder(), folder / "encoder")
    onnx_models.save(onnx_models.decoder(), folder / "decoder")
    onnx_models.put_scorer(folder)
    sparse_pile(folder / "images.npy", ROWS)
    whole, seconds, parts = {}, {}, {}
    for command in (ENCODE, GENERATE, SCORE):
        done = vae(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        whole[command[0]], seconds[command[0]] = content(folder / "job"), summary["seconds"]
        parts[command[0]] = summary["parts"]
        assert summary["parts"] == len(list((folder / "job/out").glob("part-*"))) > 2
        shutil.rmtree(folder / "job")
    return Bench(folder, whole, seconds, parts)


@pytest.fixture
def place(bench: Bench, tmp_path: Path) -> Path:
    """A folder of its own with the models and the pile of the bench."""
    return furnish(tmp_path, bench)


def furnish(folder: Path, bench: Bench) -> Path:
    for name in ("encoder", "decoder", "scorer", "images.npy"):
        (folder / name).symlink_to(bench.folder / name)
    return folder


def finished(place: Path) -> list[str]:
    """The parts of a job that have a record."""
    return sorted(json.loads(record.read_bytes())["file"] for record in (place / SPACE).glob("records/*"))


def recorded(place: Path) -> int:
    """How many they are, none if the job has ended."""
    try:
        return len(os.listdir(place / SPACE / "records"))  # noqa: PTH208
    except FileNotFoundError:
        return 0


def interrupt(place: Path, *command: str, parts: int = 2, by: int = signal.SIGKILL) -> tuple[int, str]:
    """Run a job and end it once it has finished some parts."""
    job = start(*command, cwd=place)
    wait_for(place / SPACE / f"records/part-{parts - 1:05d}.json", job)
    job.send_signal(by)
    return end(job)


def stop_early(place: Path, begun: str, *command: str, by: int) -> tuple[int, str]:
    """Stop a job once it has begun; anew if a slow look came too late, after a part, or all, was finished."""
    for _ in range(10):
        shutil.rmtree(place / "job", ignore_errors=True)
        (place / "job").mkdir()
        job = start(*command, cwd=place)
        wait_for(place / begun, job)
        job.send_signal(by)
        code, said = end(job)
        if "finished part(s)" not in said and not list(place.glob("job/**/*manifest.json")):
            break
    return code, said


# The process ends


def test_a_job_that_is_killed_at_random_moments_goes_on_and_leaves_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    def kill_again_and_again(command: list[str], kills: int, seed: int) -> list[int]:
        """Kill until the job gets through, then start over; returns how many parts each run found finished."""
        moments, found = random.Random(seed), []
        place = tmp_path / command[0]
        place.mkdir()
        furnish(place, bench)
        while kills:
            stray = place / SPACE / "stray"
            if stray.parent.exists():
                stray.touch()
            job = start(*command, cwd=place)
            # No moment is wasted on imports: the job has tidied up what is there. And however slow the machine is
            # just now, some moments lie between the parts.
            parts = moments.randrange(bench.parts[command[0]])
            while job.poll() is None and (stray.exists() or recorded(place) < parts):
                time.sleep(0.001)
            time.sleep(moments.uniform(0, bench.seconds[command[0]] / 2))
            job.kill()
            stdout, stderr = job.communicate()
            assert job.returncode in (-signal.SIGKILL, 0), stderr
            kills -= job.returncode != 0
            found += [int(parts) for parts in re.findall(r"^resuming after (\d+) finished", stderr)]
            if kills == 0 and job.returncode:
                done = vae(*command, cwd=place)
                assert done.returncode == 0, done.stderr
                found.append(json.loads(stdout := done.stdout)["resumed_parts"])
            if stdout:
                assert content(place / "job") == bench.whole[command[0]]
                shutil.rmtree(place / "job")
        return found

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(kill_again_and_again, (ENCODE, GENERATE, SCORE), (3, 2, 2), (1, 2, 5)))
    assert all(any(runs) for runs in found), found  # kills between the parts, not only before the first


DECODE = ["generate", "--latents", "z.npy", "--decoder", "decoder"]
RANK = ["score", "pictures", "--scorer", "scorer", "--most", "3"]  # a picture of what all parts have kept


@pytest.mark.parametrize(
    ("job", "form", "earlier"),
    [
        *((DECODE, form, False) for form in ("out", "x.npz", "file://{}/job/out", "file://{}/job/x.npz")),
        *((RANK, form, False) for form in ("out", "x.npz", "file://{}/job/out")),
        (DECODE, "out", True),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else {True: "in place of an earlier one"}.get(value, value),
)
def test_a_job_that_is_killed_at_any_step_goes_on_and_leaves_the_same_bytes(
    job: list[str], form: str, earlier: bool, place: Path
) -> None:
    """Before each change to the file system a copy is taken: what a kill would leave at that moment."""
    output = form.format(place) if "://" in form else f"job/{form}"
    z = np.random.default_rng(0).standard_normal((50, 2), np.float32)
    np.save(place / "earlier.npy", z[:9])
    z[7] = np.nan  # for a file of rows that were set aside
    np.save(place / "z.npy", z)
    (place / "pictures").mkdir()
    for row, image in enumerate(np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)):
        (place / f"pictures/{row}.png").write_bytes(b"no picture" if row == 7 else png(image))
    options = ["--on-error", "quarantine", "-o", output, "--json"]
    if earlier:
        assert again(*[word.replace("z.npy", "earlier.npy") for word in job], *options, cwd=place)[0] == 0
    else:
        (place / "job").mkdir()
    command = [*job, *options]
    script = "import sys; from tests.test_faults import copy_before_each_step as run; run(*sys.argv[1:])"
    arguments = [sys.executable, "-c", script, str(place), *command]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    (place / "job").rename(place / "whole")
    whole = content(place / "whole")
    steps = sorted((place / "steps").iterdir())
    assert len(steps) > (10 if "://" in form else 20)
    assert [step.name for step in steps] == [f"{number:03d}" for number in range(len(steps))]
    failures, went_on, published, before = [], 0, 0, None
    for step in steps:
        before, left = content(step / "job"), before
        if before == left:
            continue
        (step / "job").rename(place / "job")
        code, summary, said = again(*command, cwd=place)
        after = content(place / "job")
        if "is there; delete it" in said and whole.items() <= after.items():
            published += 1  # on a store, where a whole result is not made again, the workspace is removed last
        elif code != 3:
            failures.append(f"{(step / 'name').read_text()}: {said}")
        elif after != whole:
            failures.append(f"{(step / 'name').read_text()}: differs in {sorted(dict(after.items() ^ whole.items()))}")
        else:
            went_on += summary["resumed_parts"]
        shutil.rmtree(place / "job")
    assert not failures, "\n".join(failures)
    if "://" in form:  # where a copy is taken for another file, so that parts are made again
        assert published <= 3
    else:
        assert (went_on > 2, published) == (True, 0)


def copy_before_each_step(place: str, *command: str) -> None:
    """Run `vae`, and copy the folder of the job before each change to it."""
    os.chdir(place)
    numbers, copying = itertools.count(), threading.local()

    def copy(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _STEPS or getattr(copying, "now", False) or not isinstance(arguments[0], str | Path):
            return
        path = os.fsdecode(arguments[0])
        if "/job/" in path and not (event == "open" and arguments[1] == "r"):
            copying.now = True
            folder = Path(f"steps/{next(numbers):03d}")
            shutil.copytree("job", folder / "job")
            (folder / "name").write_text(f"{event} {path.partition('/job/')[2]}")
            copying.now = False

    sys.addaudithook(copy)
    sys.argv = ["vae", *command]
    main()


_STEPS = "open", "os.link", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"


@pytest.mark.parametrize(("by", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_job_that_is_stopped_says_so_and_keeps_what_is_finished(
    by: int, status: int, place: Path, bench: Bench
) -> None:
    code, said = interrupt(place, *ENCODE, by=by)
    kept = finished(place)
    assert (code, len(kept) >= 2) == (status, True)
    note = f".out.partial holds {len(kept)} finished part(s); run the same command again to resume\n"
    note += f"stopped by {signal.Signals(by).name}\n"
    assert said.endswith(note)
    assert said.count("\n") == 2
    assert resumed(place, *ENCODE) == len(kept)
    assert content(place / "job") == bench.whole["encode"]


@pytest.mark.parametrize("form", ["out", "x.npy"])
def test_on_a_store_too_a_job_goes_on_with_what_is_finished(form: str, place: Path, bench: Bench) -> None:
    (place / "job").mkdir()
    output = f"file://{place}/job/{form}"
    command = [*ENCODE, "-o", output]
    space = place / f"job/.{form}.partial"
    third = place / "job/out/part-00002.parquet" if form == "out" else space / "parts/part-00002.npz"
    job = start(*command, cwd=place)
    wait_for(third, job)  # so that the records of those before it are whole
    job.kill()
    assert end(job)[0] == -signal.SIGKILL
    (space / "records/part-00000.json").unlink()
    job = start(*command, cwd=place)
    wait_for(space / "records/part-00000.json", job)
    job.send_signal(signal.SIGINT)
    code, said = end(job)
    kept = len(list(space.glob("records/*")))
    note = f"file://{space} holds {kept} finished part(s); run the same command again to resume\nstopped by SIGINT\n"
    assert (code, said.endswith(note)) == (130, True), said
    assert resumed(place, *command) == kept >= 2
    if form == "out":
        assert content(place / "job") == bench.whole["encode"]
    else:
        assert np.load(place / "job/x.npy").shape == (ROWS, 2)
        assert sorted(content(place / "job")) == ["x.npy", "x.npy.manifest.json"]


@pytest.mark.parametrize("form", ["out", "x.npy"])
def test_on_a_store_too_a_job_that_is_stopped_before_a_part_is_finished_leaves_nothing(form: str, place: Path) -> None:
    command = [*ENCODE, "-o", f"file://{place}/job/{form}"]
    assert stop_early(place, f"job/.{form}.partial/job.json", *command, by=signal.SIGINT)[0] == 130
    assert [name for name, digest in content(place / "job").items() if digest != "/"] == []


@pytest.mark.parametrize(("by", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_job_that_is_stopped_before_a_part_is_finished_leaves_nothing(by: int, status: int, place: Path) -> None:
    code, said = stop_early(place, f"{SPACE}/parts", *ENCODE, by=by)
    assert (code, content(place / "job")) == (status, {})
    assert "Traceback" not in said


def test_an_impatient_user_who_keeps_pressing_ctrl_c_sees_no_traceback(place: Path, bench: Bench) -> None:
    job = start(*ENCODE, cwd=place)
    wait_for(place / f"{SPACE}/parts/part-00001.parquet", job)
    for _ in range(5):
        job.send_signal(signal.SIGINT)
        time.sleep(0.002)
    code, said = end(job)
    assert (code, "Traceback" in said) == (130, False), said
    assert resumed(place, *ENCODE) >= 1
    assert content(place / "job") == bench.whole["encode"]


def test_ctrl_c_while_libraries_are_loaded_is_no_traceback(place: Path) -> None:
    """A C extension that runs Python code while it is loaded may turn the exception of a signal into another."""
    script = (
        "import os, signal, sys; from pipeline.cli import main\n"
        "def press_soon(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'onnxruntime.capi._pybind_state':\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))\n"
        "sys.addaudithook(press_soon); sys.argv[0] = 'vae'; main()"
    )
    (place / "job").mkdir()
    job = subprocess.run(
        [sys.executable, "-c", script, *ENCODE], cwd=place, capture_output=True, text=True, check=False, timeout=60
    )
    assert (job.returncode, "Traceback" in job.stderr) == (130, False), job.stderr
    assert content(place / "job") == {}


def test_a_job_under_nohup_outlives_its_terminal(place: Path, bench: Bench) -> None:
    job = subprocess.Popen(
        ["nohup", VAE, *ENCODE], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(place / f"{SPACE}/parts/part-00000.parquet", job)
    job.send_signal(signal.SIGHUP)
    assert end(job)[0] == 0
    assert content(place / "job") == bench.whole["encode"]


def test_a_second_job_on_the_same_output_is_refused_and_the_first_ends_well(place: Path, bench: Bench) -> None:
    first = start(*ENCODE, cwd=place)
    wait_for(place / f"{SPACE}/parts", first)
    halt(first)  # so that it surely runs while the other one tries
    try:
        second = vae(*ENCODE, cwd=place)
    finally:
        first.send_signal(signal.SIGCONT)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"error: another process is writing in {place}/{SPACE}; wait for it, or choose another output\n"
    )
    assert end(first)[0] == 0
    assert content(place / "job") == bench.whole["encode"]


# The records of a job that was killed


def damage_byte(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-100] + b"?" + part.read_bytes()[-99:])


def put_folder(part: Path) -> None:
    part.unlink()
    part.mkdir()
    (part / "000000000.png").touch()


def forget(space: Path, *numbers: int) -> None:
    for number in numbers:
        record(space, number).unlink()


def record(space: Path, number: int) -> Path:
    return space / f"records/part-{number:05d}.json"


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda space: damage_byte(space / "parts/part-00001.parquet"), 2),
        (lambda space: (space / "parts/part-00001.parquet").unlink(), 2),
        (lambda space: (space / "parts/part-00000.parquet").write_bytes(b""), 2),
        (lambda space: put_folder(space / "parts/part-00002.parquet"), 2),
        (lambda space: shutil.rmtree(space / "parts"), 0),
        (lambda space: os.truncate(record(space, 1), record(space, 1).stat().st_size - 20), 2),
        (lambda space: record(space, 2).write_bytes(bytes(300)), 2),
        (lambda space: record(space, 0).write_text('{"file": "part-00000.parquet"}\n'), 2),
        (lambda space: record(space, 1).write_bytes(record(space, 2).read_bytes()), 2),
        (lambda space: forget(space, 1), 2),
        (lambda space: forget(space, 0, 1), 1),
        (lambda space: shutil.rmtree(space / "records"), 0),
        (lambda space: (space / "job.json").unlink(), 0),
        (lambda space: os.truncate(space / "job.json", 20), 0),
    ],
    ids=[
        "a flipped byte",
        "a deleted part",
        "an empty part",
        "a folder in place of a part",
        "all parts deleted",
        "a torn record",
        "zeroes",
        "half a record",
        "the record of another part",
        "no record of the one in the middle",
        "a record of the last one alone",
        "no records",
        "nothing that says what job it is",
        "half of what says what job it is",
    ],
)
def test_parts_that_are_not_what_their_records_say_are_made_again(
    damage: Callable[[Path], object], kept: int, place: Path, killed: Path, bench: Bench
) -> None:
    shutil.copytree(killed, place / "job")
    damage(place / SPACE)
    assert resumed(place, *ENCODE) == kept
    assert content(place / "job") == bench.whole["encode"]


@pytest.fixture(scope="module")
def killed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a job leaves that is killed after three parts."""
    for _ in range(5):  # a slow look may come too late
        place = furnish(tmp_path_factory.mktemp("killed"), bench)
        if interrupt(place, *ENCODE, parts=3)[0] == -signal.SIGKILL:
            break
    (place / SPACE / "records/part-00003.json").unlink(missing_ok=True)  # it may have got further
    assert finished(place) == [f"part-{number:05d}.parquet" for number in range(3)]
    return place / "job"


def test_a_job_with_another_limit_begins_anew_and_says_so(
    place: Path, killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(killed, place / "job")
    assert resumed(place, *ENCODE, "--limit", "100") == 0
    assert f"{place}/{SPACE} was left by another job; starting over" in caplog.messages
    assert [path.name for path in (place / "job").iterdir()] == ["out"]
    assert pq.read_table(place / "job/out").num_rows == 100


def test_a_source_that_changed_since_the_job_was_killed_is_read_from_its_start(
    place: Path, killed: Path, bench: Bench
) -> None:
    shutil.copytree(killed, place / "job")
    (place / "images.npy").unlink()
    sparse_pile(place / "images.npy", ROWS)  # the same bytes, but how should one know
    assert resumed(place, *ENCODE) == 0
    assert content(place / "job") == bench.whole["encode"]


# The disk, and what lies on it


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_a_full_disk_is_one_line_and_the_job_goes_on_when_there_is_room(form: str, place: Path, bench: Bench) -> None:
    output = ["-o", "job/x.npy"] if form == "npy" else []
    # No part is larger than 1.71 MB, the .npy file of all is 2 MB, and no Parquet part is smaller than 1 MB.
    room = 1_800_000 if form == "npy" else 1_000_000

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    first = [*ENCODE[:-1], *output]
    if form == "parquet":
        assert interrupt(place, *ENCODE)[0] == -signal.SIGKILL
    full = vae(*first, "--quiet", cwd=place, preexec_fn=fill)
    assert (full.returncode, full.stdout) == (1, "")
    where = f"{place}/job/x.npy" if form == "npy" else f"{place}/{SPACE}"
    assert full.stderr == f"error: cannot write {where}: File too large; free some space or choose another place\n"
    assert resumed(place, *first, "--json") >= 2
    if form == "parquet":
        assert content(place / "job") == bench.whole["encode"]
    else:
        assert np.load(place / "job/x.npy").shape == (ROWS, 2)
        assert sorted(content(place / "job")) == ["x.npy", "x.npy.manifest.json"]


def test_a_disk_that_is_full_from_the_start_is_one_line_and_leaves_nothing(place: Path) -> None:
    (place / "job").mkdir()

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    full = vae(*ENCODE, cwd=place, preexec_fn=fill)
    assert (full.returncode, full.stdout, full.stderr.count("\n")) == (1, "", 1)
    assert full.stderr.startswith(f"error: cannot write {place}/{SPACE}")
    assert content(place / "job") == {}


def stop_after(place: Path, part: int, *command: str) -> subprocess.Popen[str]:
    """A job that has finished a part and stands still."""
    job = start(*command, cwd=place)
    wait_for(place / f"{SPACE}/parts/part-{part:05d}.parquet", job)
    halt(job)
    return job


def halt(job: subprocess.Popen[str]) -> None:
    """Wait until the last of its threads stands still."""
    job.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, job.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def test_a_source_that_shrinks_while_it_is_read_is_one_line(place: Path) -> None:
    (place / "images.npy").unlink()
    sparse_pile(place / "images.npy", ROWS)
    job = stop_after(place, 0, *ENCODE, "--quiet")
    os.truncate(place / "images.npy", 784 * 100_000)
    job.send_signal(signal.SIGCONT)
    code, said = end(job)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("error: images.npy")
    assert "ends in row" in said
    code, _, said = again(*ENCODE, cwd=place)
    assert (code, "images.npy declares" in said) == (1, True)


def test_a_source_that_changes_while_it_is_read_is_refused_at_the_end(place: Path) -> None:
    (place / "images.npy").unlink()
    sparse_pile(place / "images.npy", ROWS)
    job = stop_after(place, 0, *ENCODE)
    os.utime(place / "images.npy")
    job.send_signal(signal.SIGCONT)
    assert end(job) == (
        1, "error: images.npy changed while it was read; run the command again when it is complete\n"
    )  # fmt: skip
    assert content(place / "job") == {}


@pytest.mark.parametrize("kind", ["folder of PNG", "parquet", "tar"])
def test_a_source_that_is_damaged_half_way_is_one_line_and_keeps_nothing_unfinished(kind: str, place: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 28, 28), np.uint8)
    if kind == "folder of PNG":
        (place / "pile").mkdir()
        for number, image in enumerate(images):
            (place / f"pile/{number:03d}.png").write_bytes(png(image) if number != 170 else png(image)[:-30])
        complaint = "error: pile/170.png: "
    elif kind == "parquet":
        pq.write_table(pa.table({"image": [image.tobytes() for image in images]}), place / "pile.parquet",
                       row_group_size=50, compression="zstd")  # fmt: skip
        whole = (place / "pile.parquet").read_bytes()
        middle = len(whole) // 2
        (place / "pile.parquet").write_bytes(whole[:middle] + b"?" * 20_000 + whole[middle + 20_000 :])
        complaint = "error: pile.parquet"
    else:
        (place / "pile").mkdir()
        with tarfile.open(place / "pile.tar", "w") as archive:
            for number, image in enumerate(images):
                (place / f"pile/{number:03d}.png").write_bytes(png(image))
                archive.add(place / f"pile/{number:03d}.png", f"{number:03d}.png")
        os.truncate(place / "pile.tar", (place / "pile.tar").stat().st_size // 2 + 700)
        complaint = "error: pile.tar"
    (place / "job").mkdir()
    source = "pile" if kind == "folder of PNG" else f"pile.{kind}"
    code, _, said = again("encode", source, "--encoder", "encoder", "-o", "job/out", "--json", cwd=place)
    assert (code, "\n" in said) == (1, False)
    assert said.startswith(complaint)
    assert content(place / "job") == {}


def test_pictures_that_disappear_while_the_job_runs_are_one_line(place: Path) -> None:
    picture = png(np.zeros((28, 28), np.uint8))
    (place / "pile").mkdir()
    (place / "pile/0.png").write_bytes(picture)
    for number in range(1, 12_000):
        os.link(place / "pile/0.png", place / f"pile/{number}.png")
    (place / "job").mkdir()
    job = start("encode", "pile", "--encoder", "encoder", "-o", "job/out", "--workers", "1", cwd=place)
    wait_for(place / SPACE, job)
    (place / "pile").rename(place / "elsewhere")
    code, said = end(job)
    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith("error: pile/")
    assert "No such file" in said
    assert content(place / "job") == {}


@pytest.mark.parametrize("gone", ["job", f"{SPACE}/parts"])
def test_a_folder_that_vanishes_under_the_job_is_one_line(gone: str, place: Path, bench: Bench) -> None:
    job = stop_after(place, 1, *ENCODE, "--quiet")
    shutil.rmtree(place / gone)
    job.send_signal(signal.SIGCONT)
    code, said = end(job)
    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith(f"error: cannot write {place}/job/")
    assert again(*ENCODE, cwd=place)[0] == 0
    assert content(place / "job") == bench.whole["encode"]


# Inside DVC


def test_a_stage_of_dvc_that_is_killed_goes_on_where_it_was(bench: Bench, place: Path) -> None:
    environment = {**os.environ, "PATH": f"{VAE.parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    command = " ".join(["vae", *ENCODE])
    (place / "dvc.yaml").write_text(f"stages: {{encode: {{cmd: {command}, deps: [encoder], outs: [job/out]}}}}\n")
    repro = subprocess.Popen(
        ["dvc", "repro"], cwd=place, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(place / f"{SPACE}/parts/part-00001.parquet", repro)
    os.killpg(repro.pid, signal.SIGKILL)
    repro.communicate()
    kept = finished(place)
    assert kept
    said = run("dvc", "repro")
    assert f"resuming after {len(kept)} finished part(s), {len(kept) * ROWS_PER_PART:,} rows" in said
    assert content(place / "job/out") == {
        name.removeprefix("out/"): digest for name, digest in bench.whole["encode"].items() if name.startswith("out/")
    }
    assert "Data and pipelines are up to date" in run("dvc", "status")
    assert [path.name for path in (place / "job").iterdir() if path.name.startswith(".")] in ([], [".gitignore"])
