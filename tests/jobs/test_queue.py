"""Which part is next, and what is told when some fail."""

import pytest

from pipeline.errors import DataError, FormatError, OutputError, PipelineError
from pipeline.jobs.queue import TRIES, PartQueue


def drained(queue: PartQueue) -> list[int]:
    """All parts that wait, as they are taken."""
    taken = []
    while queue:
        taken.append(queue.take())
    return taken


def test_parts_are_taken_in_order_and_those_that_come_back_first() -> None:
    queue = PartQueue(iter([0, 2, 3, 7]))
    assert queue
    assert queue.take() == 0
    assert queue
    assert queue.take() == 2
    assert queue.put_back(2) == 1
    assert queue.put_back(0) == 1
    assert drained(queue) == [0, 2, 3, 7]
    queue.raise_failure()


def test_numbers_are_asked_for_one_by_one() -> None:
    asked: list[int] = []
    queue = PartQueue(asked.append(number) or number for number in range(10**9))  # type: ignore[func-returns-value]
    for _ in range(3):
        assert queue
        queue.take()
    assert asked == [0, 1, 2]


def test_a_bad_row_is_for_good_and_the_lowest_is_told() -> None:
    queue = PartQueue(iter(range(6)))
    taken = [number for _ in range(4) if queue for number in [queue.take()]]
    assert taken == [0, 1, 2, 3]
    assert queue.fail(3, FormatError("row 3"))
    assert [queue.matters(number) for number in (2, 3, 4)] == [True, False, False]
    assert not queue  # 4 and 5 are no longer needed
    assert queue.fail(1, FormatError("row 1"))
    assert queue.fail(2, FormatError("row 2"))
    with pytest.raises(FormatError, match="row 1"):
        queue.raise_failure()


@pytest.mark.parametrize("error", [OutputError("no space"), DataError("no network")])
def test_all_else_is_tried_again_a_few_times(error: PipelineError) -> None:
    queue = PartQueue(iter([0]))
    for _ in range(TRIES - 1):
        assert drained(queue) == [0]
        assert not queue.fail(0, error)
    assert drained(queue) == [0]
    assert queue.fail(0, error)
    assert drained(queue) == []
    with pytest.raises(type(error), match=str(error)):
        queue.raise_failure()
