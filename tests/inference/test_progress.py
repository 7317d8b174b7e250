import logging
import os
import subprocess
import sys
import termios

import pytest

from pipeline.inference import progress as module
from pipeline.inference.progress import Progress

SCRIPT = """
import logging, sys
from pipeline.inference.progress import Progress
logging.basicConfig(format="%(message)s", level=logging.INFO)
with Progress("encode", 4_000, 1_000, quiet=len(sys.argv) > 1) as progress:
    for _ in range(3):
        progress.advance(1_000)
"""


def shown_on_a_terminal(*arguments: str) -> str:
    """What the script writes to stderr when that is a terminal."""
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (24, 80))
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], stderr=its, check=True)
    os.close(its)
    shown = b""
    try:
        while content := os.read(ours, 4096):
            shown += content
    except OSError:  # the terminal is closed at the other end
        pass
    os.close(ours)
    return shown.decode()


def test_a_terminal_shows_a_bar_from_what_was_done_to_the_end() -> None:
    shown = shown_on_a_terminal()
    assert "encode:  25%" in shown
    assert "encode: 100%" in shown
    assert "4.00k/4.00k" in shown


def test_quiet_shows_nothing_on_a_terminal() -> None:
    assert shown_on_a_terminal("quiet") == ""


def test_a_short_job_leaves_no_line_in_a_log() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("total", "line"),
    [
        (10_000, "encode: 4,000 images of 10,000, 60 s left, 100 images/s"),
        (None, "encode: 4,000 images, 100 images/s"),
    ],
)
def test_a_long_job_leaves_a_line_every_half_minute(
    total: int | None, line: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a clock that takes 10 seconds for each 1,000 rows."""
    now = 0.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    with caplog.at_level(logging.INFO, "pipeline"), Progress("encode", total, 0, quiet=False) as progress:
        for _ in range(7):
            now += 10.0
            progress.advance(1_000)
            if now == 40:
                assert caplog.messages == [line]
    assert len(caplog.messages) == 2


def test_nothing_is_shown_where_there_is_no_stream_for_it() -> None:
    subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-c", SCRIPT], check=True)
