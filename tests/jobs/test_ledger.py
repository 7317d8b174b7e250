"""What is known of finished parts: in the order of their numbers, whatever the order they were finished in."""

import itertools
import random
import tracemalloc
from dataclasses import replace

import pytest

from pipeline.jobs.ledger import Ledger, Part

BAD = ((3, "pile/3.png", "is damaged: \u2028 \x85\n"), (4, "pile/\udcff.png", "is empty"))


def part(number: int, **more: object) -> Part:
    return replace(Part(f"part-{number:05d}.parquet", 65_536, 1_000 + number, "12ab", "34cd", 65_536), **more)  # type: ignore[arg-type]


def test_a_record_gives_back_its_part() -> None:
    whole = part(7, rows=65_534, bad=BAD, labelled=12, arithmetic="56ef", stored="78ab")
    assert whole.record().endswith(b"}\n")
    assert whole.record().count(b"\n") == 1
    assert Part.read(whole.record()) == whole


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_parts_come_in_the_order_of_their_numbers(order: tuple[int, ...]) -> None:
    ledger = Ledger()
    for number in order:
        ledger.add(number, part(number))
    assert list(ledger) == [part(number) for number in range(4)]


def test_parts_that_are_not_finished_are_left_out() -> None:
    ledger = Ledger()
    assert (list(ledger), len(ledger), 0 in ledger) == ([], 0, False)
    for number in (5, 2):
        ledger.add(number, part(number))
    assert (list(ledger), len(ledger)) == ([part(2), part(5)], 2)
    assert [number for number in range(9) if number in ledger] == [2, 5]


def test_totals_are_those_of_all_parts() -> None:
    ledger = Ledger()
    ledger.add(4, part(4, rows=10, source_rows=12, bad=BAD, labelled=3, arithmetic="a"))
    ledger.add(1, part(1, rows=100, source_rows=100, labelled=40, arithmetic="b"))
    assert (ledger.rows, ledger.source_rows, ledger.bad, ledger.labelled) == (110, 112, 2, 43)
    assert ledger.arithmetics == {"a", "b"}


def test_of_two_parts_of_one_number_the_first_counts_and_once() -> None:
    ledger = Ledger()
    ledger.add(1, part(1))
    ledger.add(1, part(1, rows=5, bytes=9, bad=BAD, arithmetic="another"))
    assert (list(ledger), len(ledger), ledger.rows, ledger.bad, ledger.arithmetics) == ([part(1)], 1, 65_536, 0, {""})


def test_parts_may_be_added_while_others_are_looked_at() -> None:
    ledger = Ledger()
    for number in range(3):
        ledger.add(number, part(number))
    seen = []
    for one in ledger:
        seen.append(one)
        if len(ledger) < 5:
            ledger.add(len(ledger), part(len(ledger)))
    assert seen == [part(number) for number in range(5)]


def test_the_memory_hardly_grows_with_the_parts() -> None:
    """A list of so many `Part` takes 5 MB. 100,000 parts are 6.5 billion rows, of which a fifth is done here."""
    numbers = random.Random(0).sample(range(100_000), 20_000)
    ledger, same = Ledger(), part(0)
    tracemalloc.start()
    try:
        for number in numbers:
            ledger.add(number, same)
        assert sum(1 for _ in itertools.islice(ledger, 5_000)) == 5_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(ledger), ledger.rows) == (20_000, 20_000 * 65_536)
    assert most < 2_000_000  # bytes: 8 for where each record begins, twice that while the array grows
