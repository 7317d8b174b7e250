"""The parts of a job, made by actors on a Ray cluster: one on each core, which sends its parts to their place itself.

The driver knows which part is whose, and gives it to another if its worker, or the machine, is lost. Scheduling,
transport and finding out who is lost are Ray's. No pixel passes through the driver or through Ray's object store.
"""

import contextlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import ClusterError, PipelineError
from pipeline.jobs.job import Job, Node, Options, Source
from pipeline.jobs.queue import TRIES, PartQueue
from pipeline.jobs.ray_worker import Home, Introduction, Outcome, Worker
from pipeline.jobs.workspace import Workspace
from pipeline.shared.text import one_line

log = logging.getLogger(__name__)

_LOOK = 5.0  # seconds between looks for machines that have joined, and at the time that parts take
_SOON = 0.2  # seconds
_UNTOLD = 20.0  # seconds of the following that pass without a word
_PATIENCE = 600.0  # seconds for a core to become free
_LONGEST = 600.0  # seconds for a part, and 20 times as long as the slowest so far
_REST = 60.0  # seconds
_AT_ONCE = 2  # parts of an actor: one is computed while the other is read or written


@dataclass(eq=False)
class _Hand:
    """An actor, as the driver knows it."""

    actor: Any
    node: str
    """The machine's id."""
    name: str
    """The machine, for a human."""
    known: Introduction | None = None
    """None until it has said who it is."""
    making: set[int] = field(default_factory=set)


@dataclass
class _Task:
    hand: _Hand
    number: int | None
    """Of the part; None while the actor starts."""
    began: float


class Run:
    """The parts of one job, handed out until all are made."""

    def __init__(
        self,
        ray: Any,
        actors: int | None,
        job: Job[Any],
        source: Source[Any],
        end: int,
        space: Workspace,
        options: Options,
    ) -> None:
        self._ray, self._most, self._job, self._source, self._end = ray, actors, job, source, end
        self._space, self._options = space, options
        self._queue = PartQueue(space.todo(end, job.rows_per_part))
        self._left = -(-end // job.rows_per_part) - len(space.finished)
        self._hands: list[_Hand] = []
        self._tasks: dict[Any, _Task] = {}
        self._refused: set[str] = set()  # machines
        self._stumbled: dict[str, float] = {}  # when, by machine
        self._rows: Counter[str] = Counter()
        self._machines: dict[str, str] = {}
        self._slowest = 0.0
        self._names = itertools.count()
        self._sent = ray.put((job, space.shelf, options.on_error, Home.here()))
        self._worker = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=_AT_ONCE)(Worker)
        self._arithmetic = next(iter(space.finished.arithmetics), None)

    def all(self, advance: Callable[[int], None], note: Callable[[str | None], None]) -> tuple[Node, ...]:
        """Make them; see `Crew.make_parts`."""
        start = idle = time.monotonic()
        looked, said = 0.0, False
        while self._queue or self._awaited():
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                self._hire()
                self._give_up_the_slow(now)
            self._hand_out()
            if any(hand.known for hand in self._hands):
                idle, said = now, False
            elif now - idle > _PATIENCE:
                raise ClusterError(self._waited())
            elif now - idle > _UNTOLD and not said:
                said = True
                log.info("waiting for a core of the Ray cluster to become free")
            if not self._tasks:
                time.sleep(_SOON)
                continue
            done, rest = self._ray.wait(list(self._tasks), timeout=_LOOK)
            if rest:  # all that are there by now, since each look goes through all
                done += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            for reference in done:
                outcome = self._take(reference)
                if outcome is not None:
                    self._space.finished.add(outcome.number, outcome.part)
                    self._left -= 1
                    advance(outcome.part.source_rows)
                    note(outcome.remark)
        self._queue.raise_failure()
        return self._nodes(time.monotonic() - start)

    def dismiss(self) -> None:
        """End all actors, whatever they do."""
        for hand in self._hands:
            self._kill(hand)

    # Parts

    def _awaited(self) -> bool:
        """Whether a part is being made that is needed."""
        return any(self._queue.matters(number) for hand in self._hands for number in hand.making)

    def _hand_out(self) -> None:
        """One part for each before anyone gets a second.

        A machine where one has just failed rests, if there are others: were its disk full, it would be the first to be
        idle again, and fail at one part after the other.
        """
        now = time.monotonic()
        ready = [hand for hand in self._hands if hand.known]
        sound = [hand for hand in ready if now - self._stumbled.get(hand.node, -_REST) >= _REST]
        for most in range(1, _AT_ONCE + 1):
            for hand in sound or ready:
                if len(hand.making) < most and self._queue:
                    self._assign(hand, self._queue.take())

    def _assign(self, hand: _Hand, number: int) -> None:
        start = number * self._job.rows_per_part
        stop = min(start + self._job.rows_per_part, self._end)
        reference = hand.actor.make.remote(number, self._source.cut(start, stop), start, stop)
        hand.making.add(number)
        self._tasks[reference] = _Task(hand, number, time.monotonic())

    def _take(self, reference: Any) -> Outcome | None:
        """What an actor answers; None if it is not a part."""
        task = self._tasks.pop(reference, None)
        if task is None:  # of an actor that was lost meanwhile
            return None
        hand, number = task.hand, task.number
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            self._fail(hand, number, cause_of(error))
            return None
        except self._ray.exceptions.RayError as error:
            self._lose(hand, one_line(error))
            return None
        if number is None:
            self._welcome(hand, answer)
            return None
        hand.making.discard(number)
        self._slowest = max(self._slowest, time.monotonic() - task.began)
        self._rows[hand.node] += answer.part.source_rows
        return answer  # type: ignore[no-any-return]

    def _fail(self, hand: _Hand, number: int | None, error: PipelineError) -> None:
        """What a worker stumbled over."""
        if number is None:
            self._turn_away(hand, error)
            return
        hand.making.discard(number)
        self._stumbled[hand.node] = time.monotonic()
        if not self._queue.fail(number, error):
            log.info("%s; trying again", error)

    def _lose(self, hand: _Hand, why: str) -> None:
        """An actor is gone: others make its parts."""
        self._kill(hand)
        self._hands.remove(hand)
        for reference in [one for one, task in self._tasks.items() if task.hand is hand]:
            del self._tasks[reference]
        if hand.making:
            log.info("lost a worker on %s (%s); its part goes to another", hand.name, why[:120])
        for number in hand.making:
            lost = self._queue.put_back(number)
            if lost > TRIES:
                start = number * self._job.rows_per_part
                raise ClusterError(
                    f"{lost} workers were lost over the rows from {start:,} on, the last on {hand.name} ({why[:200]}); "
                    "give each more memory, or look into Ray's logs"
                )

    def _give_up_the_slow(self, now: float) -> None:
        limit = _LONGEST + 20 * self._slowest
        for task in [task for task in self._tasks.values() if task.number is not None and now - task.began > limit]:
            if task.hand in self._hands:
                self._lose(task.hand, f"no answer for {limit:.0f} s")

    # Workers

    def _hire(self) -> None:
        """An actor on each core of each machine, also of those that have joined since."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

        most = min(self._left, self._most or self._left)
        machines = [node for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in self._refused]
        here = Counter(hand.node for hand in self._hands)
        for core in range(max((int(node["Resources"].get("CPU", 0)) for node in machines), default=0)):
            for node in machines:
                if len(self._hands) >= most:
                    return
                if core < here[node["NodeID"]] or core >= int(node["Resources"].get("CPU", 0)):
                    continue
                name = self._machines[node["NodeID"]] = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                actor = self._worker.options(
                    name=f"vae-{self._job.name}-{next(self._names)}", scheduling_strategy=there
                ).remote(self._sent)
                hand = _Hand(actor, node["NodeID"], name)
                self._hands.append(hand)
                self._tasks[actor.introduce.remote()] = _Task(hand, None, time.monotonic())

    def _welcome(self, hand: _Hand, known: Introduction) -> None:
        if self._arithmetic is None:
            self._arithmetic = known.arithmetic
        if known.arithmetic != self._arithmetic and not self._options.allow_mixed:
            self._turn_away(
                hand,
                ClusterError(
                    "its processor gives other last digits than those of the parts so far; --allow-mixed takes it"
                ),
            )
            return
        hand.known = known

    def _turn_away(self, hand: _Hand, error: PipelineError) -> None:
        """A machine whose workers can't work: the job goes on without it, if there are others."""
        self._refused.add(hand.node)
        for other in [one for one in self._hands if one.node == hand.node]:
            self._lose(other, "its machine is left out")
        log.warning("WARNING: %s is left out: %s", hand.name, error)
        if not self._hands:
            raise error

    def _kill(self, hand: _Hand) -> None:
        with contextlib.suppress(Exception):  # it may be gone
            self._ray.kill(hand.actor, no_restart=True)

    def _waited(self) -> str:
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        return (
            f"none of the {cores} core(s) of the Ray cluster became free in {_PATIENCE:.0f} s; end other jobs there, "
            "or add machines, and run the same command again"
        )

    def _nodes(self, seconds: float) -> tuple[Node, ...]:
        """What each machine did, and how well beside its matrix rate."""
        long = seconds > 5 and not self._options.quiet and self._job.operations is not None
        asked = [(hand, hand.actor.account.remote(min(seconds / 100, 0.5) if long else 0)) for hand in self._hands]
        done: dict[str, list[tuple[float, float]]] = {node: [] for node in self._rows}
        for hand, reference in asked:
            with contextlib.suppress(self._ray.exceptions.RayError):  # lost just now
                account = self._ray.get(reference, timeout=30)
                done.setdefault(hand.node, []).append(account)
        nodes = []
        for node, accounts in done.items():
            rows, rate = self._rows[node], sum(rate for _, rate in accounts)
            share = rows * (self._job.operations or 0) / seconds / rate if rate else None
            nodes.append(Node(self._machines[node], len(accounts), rows, sum(used for used, _ in accounts), share))
        return tuple(sorted(nodes, key=lambda node: node.name))


def cause_of(error: Any) -> PipelineError:
    """What went wrong in another process, as an error of the pipeline."""
    cause = getattr(error, "cause", None) or error
    return (
        cause
        if isinstance(cause, PipelineError)
        else ClusterError(f"Ray failed: {one_line(cause)[:300]}; run the same command again to resume")
    )
