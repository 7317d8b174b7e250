import math
import os
import threading
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inference.parallel import cores, map_ordered

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors"
)
V2, V1 = "0::/job/inner\n", "5:memory:/\n4:cpu,cpuacct:/job/inner\n"
HYBRID = "4:cpu,cpuacct:/job\n0::/job\n"


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root in which the kernel shows these control groups; `files` lie below sys/fs/cgroup."""
    for name, text in {"../../../proc/self/cgroup": groups, **files}.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file = file.parent.resolve() / file.name
        file.write_text(text)
    return root


@needs_affinity
def test_cores_are_those_that_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        pytest.param("", {}, math.inf, id="no groups"),
        pytest.param(V2, {"job/inner/cpu.max": "100000 100000\n"}, 1, id="v2"),
        pytest.param(V2, {"job/inner/cpu.max": "max 100000\n"}, math.inf, id="v2 without a limit"),
        pytest.param(V2, {"job/cpu.max": "100000 100000\n", "job/inner/cpu.max": "max 100000\n"}, 1, id="group above"),
        pytest.param(V2, {"cpu.max": "150000 100000\n", "job/inner/cpu.max": "40000 100000\n"}, 1, id="the smallest"),
        pytest.param("0::/kubepods/pod1\n", {"cpu.max": "50000 100000\n"}, 1, id="container sees itself as the top"),
        pytest.param("0::/../..\n", {"cpu.max": "50000 100000\n"}, 1, id="container in a namespace of its own"),
        pytest.param(V2, {"other/cpu.max": "10000 100000\n"}, math.inf, id="another group's"),
        pytest.param(V2, {"job/inner/cpu.max": "\n"}, math.inf, id="empty file"),
        pytest.param(V2, {"job/inner/cpu.max": "100000 0\n"}, math.inf, id="no period"),
        pytest.param(V2, {"job/inner/cpu.max": "1 x\n"}, math.inf, id="no number"),
        pytest.param("garbage\n", {"job/inner/cpu.max": "1 1\n"}, math.inf, id="no group"),
        pytest.param(V2, {"job/inner/cpu.max/not-a-file": ""}, math.inf, id="unreadable"),
        pytest.param(
            V1,
            {"cpu/job/inner/cpu.cfs_quota_us": "100000\n", "cpu/job/inner/cpu.cfs_period_us": "100000\n"},
            1,
            id="v1",
        ),
        pytest.param(
            V1,
            {"cpu/job/cpu.cfs_quota_us": "-1\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            math.inf,
            id="v1 no limit",
        ),
        pytest.param(
            "5:memory:/job\n",
            {"cpu/job/cpu.cfs_quota_us": "100000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            math.inf,
            id="v1 of another controller",
        ),
        pytest.param(
            HYBRID, {"cpu/job/cpu.cfs_quota_us": "9000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}, 1, id="hybrid"
        ),
    ],
)
def test_a_quota_of_the_control_group_counts(groups: str, files: dict[str, str], quota: float, tmp_path: Path) -> None:
    assert cores(system(tmp_path, groups, files)) == min(quota, cores(tmp_path / "no control groups"))


@settings(deadline=None, max_examples=30)
@given(quota=st.integers(1, 10**6), period=st.integers(1000, 10**6))
def test_a_fraction_of_a_processor_counts_as_a_whole_one(
    quota: int, period: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = system(tmp_path_factory.mktemp("system"), "0::/\n", {"cpu.max": f"{quota} {period}\n"})
    assert cores(root) == min(math.ceil(Fraction(quota, period)), cores(root / "no control groups"))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3)), st.integers(1, 4))
def test_map_ordered_keeps_the_order(delays: list[int], workers: int) -> None:
    def wait(item: tuple[int, int]) -> int:
        number, delay = item
        time.sleep(delay / 10_000)
        return number

    assert list(map_ordered(wait, enumerate(delays), workers)) == list(range(len(delays)))


@pytest.mark.parametrize("workers", [1, 2])
def test_map_ordered_works_side_by_side(workers: int) -> None:
    meeting = threading.Barrier(workers, timeout=10)  # opens only when so many calls run at once
    assert len(list(map_ordered(lambda _: meeting.wait(), range(2 * workers), workers))) == 2 * workers


@pytest.mark.parametrize("workers", [1, 3])
def test_map_ordered_reads_only_a_few_items_ahead(workers: int) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    for given_out, result in enumerate(map_ordered(lambda item: item, endless(), workers), 1):
        assert result == given_out
        assert taken - given_out <= 2 * workers
        if given_out == 100:
            break


def test_an_exception_in_the_middle_comes_out_and_stops_the_rest() -> None:
    called: list[int] = []
    results: list[float] = []

    def invert(item: int) -> float:
        called.append(item)
        return 1 / (item - 5)

    with pytest.raises(ZeroDivisionError):
        results.extend(map_ordered(invert, range(1000), 2))
    assert results == [1 / (item - 5) for item in range(5)]
    assert max(called) <= 5 + 2 * 2


def test_an_exception_of_the_items_leaves_no_thread() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the source broke off")

    before = threading.active_count()
    with pytest.raises(ValueError, match="broke off"):
        list(map_ordered(time.sleep, (item / 100 for item in items()), 2))
    assert threading.active_count() == before


def test_who_stops_reading_early_does_not_wait_for_what_has_not_begun() -> None:
    called: list[int] = []

    def work(item: int) -> None:
        called.append(item)
        time.sleep(0.2 * item)

    results = map_ordered(work, range(1000), 1)
    next(results)
    assert isinstance(results, Generator)
    results.close()
    assert set(called) <= {0, 1}  # 1 may have begun; 2 had been taken, too
