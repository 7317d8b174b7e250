"""What a batch job is, how it is run and what comes out: the words that the engine and the jobs share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import xxhash

from pipeline.jobs.parts import ROWS_PER_PART, Array, Columns
from pipeline.sources.rows import MAX_ROWS, BadRow, Depot, Each, Pixels, describe

FAIL, QUARANTINE = "fail", "quarantine"
SAMPLE = 64  # rows

T = TypeVar("T", bound="Stretch")
T_co = TypeVar("T_co", bound="Stretch", covariant=True)


class Stretch(Protocol):
    """Rows `start` to `stop` of a source, but for the `bad` ones."""

    @property
    def start(self) -> int: ...  # noqa: D102
    @property
    def stop(self) -> int: ...  # noqa: D102
    @property
    def bad(self) -> tuple[BadRow, ...]: ...  # noqa: D102


class Source(Protocol[T_co]):
    """Rows that are read in order by one thread; what `read` returns is called on another to decode them.

    See `ImageSource` for what it must do.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int | None: ...  # noqa: D102
    @property
    def labels_from(self) -> str: ...  # noqa: D102
    @property
    def passed_over(self) -> Mapping[str, int]: ...  # noqa: D102
    def state(self) -> str: ...  # noqa: D102
    def read(self, start: int, stop: int) -> Callable[[], T_co]: ...  # noqa: D102
    def measured(self, each: Each) -> "Source[T_co]": ...  # noqa: D102
    def unpacked(self, depot: Depot, each: Each) -> "Source[T_co]": ...  # noqa: D102
    def cut(self, start: int, stop: int) -> "Source[T_co]": ...  # noqa: D102


@dataclass(frozen=True)
class Job(ABC, Generic[T]):
    """What is done with the rows of a source: a specification that can be sent to another process, models and all."""

    name: ClassVar[str]
    npy_column: ClassVar[str]
    """What an `.npy` file holds."""
    carries_labels: ClassVar[bool] = False
    unit: ClassVar[str] = "images"
    """What the rows of its source are, for progress."""

    format: str
    """Of the files of the result."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What decides on the result, for fingerprint and manifest."""

    @property
    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """What each Parquet file says of itself."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What else decides on a byte of the result, besides the source; for the fingerprint."""
        return {}

    @property
    @abstractmethod
    def workers(self) -> int:
        """Threads that compute."""

    @property
    @abstractmethod
    def operations(self) -> int | None:
        """Floating-point operations per row, if the models say so."""

    @property
    def draws(self) -> bool:
        """Whether it leaves a picture."""
        return False

    @property
    def rows_per_stretch(self) -> int:
        """Rows of the source that are read, and computed by a thread, at once."""
        return MAX_ROWS

    @property
    def rows_per_part(self) -> int:
        """Rows of the source that a part covers: whole stretches."""
        return ROWS_PER_PART

    @property
    def enlarged(self) -> int:
        """How often the picture repeats a pixel of the sheet, along both sides."""
        return 2

    @abstractmethod
    def content(self, rows: T) -> Array:
        """The rows as an array, for their digest."""

    @abstractmethod
    def work(self, rows: T) -> tuple[Columns, Array]:
        """The columns of the result, besides `index`, and the array of it that `sheet` shows."""

    @abstractmethod
    def sample(self) -> T:
        """Some rows that are always the same, for `arithmetic`."""

    def arithmetic(self) -> str:
        """Digest of what comes of the sample on this machine.

        ONNX Runtime promises equal bytes on equal processors alone: what AVX2 and AVX-512 give differs in last digits.
        """
        columns, made = self.work(self.sample())
        digest = xxhash.xxh3_64(made.tobytes())
        for values in columns.values():
            digest.update(values.tobytes() if values.dtype != object else b"")
        return digest.hexdigest()

    def remark(self, rows: T) -> str | None:  # noqa: ARG002
        """What is odd about rows, for a note; None if nothing is."""
        return None

    def sheet(self, rows: T, made: Array) -> Pixels | None:  # noqa: ARG002
        """The picture of the first stretch: `made` is what `work` made of its rows."""
        return None

    def keep(self, rows: T, columns: Columns) -> Columns | None:  # noqa: ARG002
        """What a picture of rows from anywhere may need of a stretch, and of the columns made of it; None: nothing."""
        return None

    def best(self, kept: Sequence[Columns]) -> Columns:  # noqa: ARG002
        """What the picture may need of several stretches, or parts."""
        return {}

    def sheet_of(self, kept: Columns) -> Pixels | None:  # noqa: ARG002
        """The picture, of what all parts have kept."""
        return None


@dataclass(frozen=True)
class Cluster:
    """Of Ray."""

    actors: int | None = None
    """How many compute, each on a core; by default as many as there are cores, also those that join later."""
    start: int | None = None
    """Start one here for this job alone, of so many cores."""


@dataclass(frozen=True)
class Node:
    """What a machine of a cluster did."""

    name: str
    actors: int
    rows: int
    core_seconds: float
    matrix_share: float | None
    """As that of `Summary`, of the time that its actors computed."""


@dataclass(frozen=True)
class Options:
    """How a job is run."""

    limit: int | None = None
    """Only so many rows of the source."""
    on_error: str = FAIL
    """`fail` at the first bad row, or `quarantine` all of them."""
    quiet: bool = False
    cluster: Cluster | None = None
    """Where it runs, if not on this machine alone."""
    allow_mixed: bool = False
    """Whether parts may be made on different kinds of processors."""

    def __post_init__(self) -> None:
        """Refuse what the command line would refuse."""
        if self.on_error not in (FAIL, QUARANTINE):
            raise ValueError(f"on_error is {self.on_error!r}, expected {FAIL!r} or {QUARANTINE!r}")


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    output: str
    source: str
    rows: int | None
    """None if only reading tells."""
    limit: int | None
    parts: int | None
    finished_parts: int

    def __str__(self) -> str:
        """One line."""
        most = "all rows (their number shows at the end)" if self.limit is None else f"at most {self.limit:,} rows"
        rows = most if self.rows is None else f"{self.rows:,} rows"
        done = f"; {self.finished_parts} part(s) are finished already" if self.finished_parts else ""
        return f"{self.source}: {rows} to {self.output}{done}; nothing was written"


@dataclass(frozen=True)
class Summary:
    """What a job left, and what it took."""

    output: str
    rows: int
    parts: int
    quarantined: int
    resumed_parts: int
    seconds: float
    images_per_second: float
    matrix_share: float | None
    """Of what float32 matrix products reach on this machine; None if the job was too short to measure it."""
    peak_memory: int
    """In bytes."""
    picture: str | None = None
    quarantine: str | None = None
    """The file of the rows that were set aside."""
    labelled: int | None = None
    """Rows with a label; None where no row could have one."""
    labels_from: str | None = None
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files, or members of archives, that were found and not taken, by kind."""
    remarks: tuple[str, ...] = ()
    """What is odd about the rows."""
    nodes: tuple[Node, ...] = ()
    """The machines of a cluster that did it."""

    def __str__(self) -> str:
        """At most four lines, and one for each machine of a cluster."""
        picture = f", picture {self.picture}" if self.picture else ""
        lines = [f"{self.output}: {self.rows:,} rows{self._labels()}{picture}"]
        if self.passed_over:
            lines.append(f"passed over: {describe(self.passed_over)}")
        if self.quarantined:
            lines.append(f"{self.quarantined:,} bad row(s) set aside in {self.quarantine}")
        share = "" if self.matrix_share is None else f" ({self.matrix_share:.0%} of the matrix rate)"
        rate = f"{self.images_per_second:,.{0 if self.images_per_second >= 10 else 2}f} images/s"
        lines.append(f"{self.seconds:.1f} s, {rate}{share}, peak {self.peak_memory / 1e6:.0f} MB")
        for node in self.nodes:
            share = "" if node.matrix_share is None else f", {node.matrix_share:.0%} of its matrix rate"
            each = f", {node.core_seconds / node.rows * 1e6:,.1f} core-seconds a million" if node.rows else ""
            lines.append(f"{node.name}: {node.actors} actor(s), {node.rows:,} rows{each}{share}")
        return "\n".join(lines)

    def _labels(self) -> str:
        if self.labelled is None:
            return ""
        return f", {self.labelled:,} with a label ({self.labels_from})" if self.labelled else ", none with a label"
