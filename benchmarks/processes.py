"""What processes take, as the kernel tells of them (Linux)."""

import os
import threading
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def descendants(of: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (about := _stat(int(folder.name))):
            children.setdefault(int(about[1]), []).append(int(folder.name))
    found, left = list[int](), [of]
    while left:
        more = children.get(left.pop(), [])
        found += more
        left += more
    return found


def processor_seconds(process: int) -> float:
    """What it has used so far; 0 if it is gone."""
    about = _stat(process)
    return (int(about[11]) + int(about[12])) / _TICK if about else 0.0


def _stat(process: int) -> list[str]:
    """The fields of proc(5) from the state on, which is the third."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class Peaks(threading.Thread):
    """The largest resident sets of all descendants of this process, by what they are, while the block runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._end = threading.Event()
        self._found: dict[int, tuple[str, int]] = {}

    def run(self) -> None:
        """Look twice a second."""
        while not self._end.wait(0.5):
            for process in descendants(os.getpid()):
                if peak := _peak(process):
                    self._found[process] = _what(process), peak

    def __enter__(self) -> "Peaks":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def bytes(self) -> dict[str, list[int]]:
        """The peaks of the processes of each kind, in bytes."""
        kinds: dict[str, list[int]] = {}
        for kind, peak in self._found.values():
            kinds.setdefault(kind, []).append(peak)
        return kinds


def _peak(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _what(process: int) -> str:
    """`actor`, a daemon of Ray, or `other`."""
    try:
        line = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "other"
    if line.startswith("ray::"):  # a title: ray::Worker.make, ray::IDLE, ray::DashboardAgent
        kind = line.removeprefix("ray::").split()[0].partition(".")[0]
        return {"Worker": "actor", "IDLE": "idle worker"}.get(kind, kind)
    daemons = {"raylet/raylet": "raylet", "gcs_server": "gcs_server", "log_monitor.py": "log_monitor"}
    daemons |= {"dashboard/dashboard.py": "dashboard", "dashboard/agent.py": "agent", "runtime_env/agent": "env_agent"}
    return next((name for mark, name in daemons.items() if mark in line.split(" --")[0]), "other")
