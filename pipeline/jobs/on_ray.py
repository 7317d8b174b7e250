"""A job on a Ray cluster: finding or starting one, and what is said when it is lost."""

import contextlib
import importlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from pipeline.errors import ClusterError
from pipeline.jobs.job import Cluster, Job, Node, Options, Source
from pipeline.jobs.queue import TRIES
from pipeline.jobs.ray_run import Run, cause_of
from pipeline.jobs.ray_worker import Home, call
from pipeline.jobs.workspace import Workspace
from pipeline.shared.text import one_line

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns that it will be the default
    "RAY_USAGE_STATS_ENABLED": "0",
}
_WATCH = "import sys; sys.stdin.buffer.read() or sys.exit(sys.argv[1])"
_LOST = (
    "error: the process was ended while it worked, as Ray does when the driver's node or the cluster's head is lost; "
    "run the same command again to resume"
)
_STORE_BYTES = 80 << 20  # Ray's least; it would take 30 % of the memory for what is never put there
_SECONDS = 5.0  # to connect, or to disconnect
_INDEXED = 3600.0  # seconds for one call of `each`

X = TypeVar("X")
Y = TypeVar("Y")


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator["Crew"]:
    """The cluster that `RAY_ADDRESS` names or that runs on this machine, or one that is started for this job alone.

    Raises:
        ClusterError: Ray is not installed, or there is no such cluster.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        ray: Any = importlib.import_module("ray")
        worker: Any = importlib.import_module("ray._private.worker")
    except ImportError as error:
        raise ClusterError("Ray is not installed; run: pip install 'mnist-vae-pipeline[ray]'") from error
    worker.print_to_stdstream = lambda *_, **__: None  # what it says of lost machines would stand among results
    ours = not ray.is_initialized()
    with _last_word():
        try:
            if ours:
                _connect(ray, cluster)
            yield Crew(ray, cluster)
        finally:
            if ours:
                # In a thread, since without a head it waits for one.
                closing = threading.Thread(target=ray.shutdown, daemon=True)
                closing.start()
                closing.join(_SECONDS)


def _connect(ray: Any, cluster: Cluster) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.start is not None:
        ray.init("local", num_cpus=cluster.start, object_store_memory=_STORE_BYTES, include_dashboard=False, **quiet)
        return
    address = os.environ.get("RAY_ADDRESS") or "auto"
    advice = (
        "start one with `ray start`, name it in RAY_ADDRESS, or let --ray-local N start one of N cores for this job"
    )
    if "://" in address:
        raise ClusterError(
            f"RAY_ADDRESS is {address}, expected host:port of a cluster's head; from outside of it, run "
            "`ray job submit -- vae ...`"
        )
    if address != "auto" and not _answers(address):
        raise ClusterError(f"there is no Ray cluster: nobody answers at {address}; {advice}")
    try:
        ray.init(address, **quiet)
    except Exception as error:  # of several unrelated classes
        raise ClusterError(f"there is no Ray cluster here ({one_line(error)[:80]}); {advice}") from error


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS):
            return True
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _last_word() -> Iterator[None]:
    """If this process ends within the block, let another say so: Ray ends it, without a word, when its node is lost."""
    command = [sys.executable, "-ISc", _WATCH, _LOST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as watch:
        try:
            yield
        finally:
            watch.communicate(b"done")


class Crew:
    """A cluster that works for a job."""

    def __init__(self, ray: Any, cluster: Cluster) -> None:
        self._ray, self._cluster = ray, cluster

    def each(self, function: Callable[[X], Y], items: Iterable[X]) -> Iterator[Y]:
        """`map`, on all cores of the cluster; results in the order of the items."""
        ray, home = self._ray, Home.here()
        remote = ray.remote(num_cpus=1, max_retries=TRIES)(call)
        waiting: deque[Any] = deque()
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        for item in items:
            waiting.append(remote.remote(home, function, item))
            if len(waiting) > most:
                yield self._get(waiting.popleft())
        while waiting:
            yield self._get(waiting.popleft())

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference, timeout=_INDEXED)
        except self._ray.exceptions.RayError as error:
            raise cause_of(error) from error

    def make_parts(
        self,
        job: Job[Any],
        source: Source[Any],
        end: int,
        space: Workspace,
        options: Options,
        advance: Callable[[int], None],
        note: Callable[[str | None], None],
    ) -> tuple[Node, ...]:
        """Make the parts that are not finished; see `local.make_parts`.

        Returns:
            What each machine did.

        Raises:
            PipelineError: what the lowest bad part says; a part fails again and again.
            ClusterError: no core becomes free, or the workers of a part are lost again and again.
        """
        run = Run(self._ray, self._cluster.actors, job, source, end, space, options)
        try:
            return run.all(advance, note)
        except self._ray.exceptions.RayError as error:
            raise cause_of(error) from error
        finally:
            run.dismiss()
