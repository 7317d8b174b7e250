"""A real Ray cluster on this machine, and its loss, for tests."""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REQUIRED = os.environ.get("VAE_CLUSTER") == "required"
"""Set where a test that can't run is a failure."""

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
_NODE = {"object_store_memory": 80 << 20, "include_dashboard": False}


def require_ray() -> Any:
    """Ray; where it is not installed, the tests of the calling module are skipped, or fail if they are required."""
    if importlib.util.find_spec("ray") is not None:
        return importlib.import_module("ray")
    reason = "Ray is not installed: pip install '.[ray]'"
    return pytest.fail(reason) if REQUIRED else pytest.skip(reason, allow_module_level=True)


@contextmanager
def cluster(nodes: int, cores: int = 1) -> Iterator[Any]:
    """So many nodes on free ports; they end with the block. Its `address` goes into RAY_ADDRESS."""
    utils = importlib.import_module("ray.cluster_utils")
    started = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": cores, **_NODE})
    started.joined = []
    try:
        for _ in range(nodes - 1):
            add_node(started, cores)
        started.wait_for_nodes()
        yield started
    finally:
        for joined in started.joined:
            joined.terminate()  # with all that it has started
            joined.wait(30)
        started.shutdown()


def add_node(cluster: Any, cores: int = 1) -> Any:
    """One more machine."""
    return cluster.add_node(num_cpus=cores, wait=False, **_NODE)


def join(cluster: Any) -> None:
    """Another machine joins, from any thread."""
    command = [Path(sys.executable).parent / "ray", "start", "--address", cluster.address, "--num-cpus", "1", "--block"]
    joined = subprocess.Popen(
        [*command, "--object-store-memory", str(80 << 20)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    cluster.joined.append(joined)
