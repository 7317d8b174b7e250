"""How a process ends: what it says is said, whatever is left to be taken apart."""

import os
import signal
import subprocess
import sys

import pytest


def run(command: str, closed: str = "", **environment: str) -> tuple[int, str, str]:
    """Status, output and errors of a process whose command has this body, and which hears every signal.

    `closed`: streams that the shell that starts it closes, in its words.
    """
    script = f"import signal, sys\nfrom pipeline.process import run_to_the_end\ndef command():\n {command}\n"
    # Shells and nohup have what they start ignore some, and so would this process of a test that runs there.
    script += "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_DFL)\n"
    script += "run_to_the_end(command)"
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", script]
    done = subprocess.run(
        shell, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("pass", 0),
        ("return 5", 0),
        ("sys.exit(0)", 0),
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit(2)", 2),
    ],
)
def test_the_status_is_the_commands(command: str, status: int) -> None:
    assert run(command) == (status, "", "")


def test_all_output_arrives_though_nothing_flushes_it() -> None:
    status, output, errors = run("print('x' * 100_000, end=''); print('y', file=sys.stderr, end='')")
    assert (status, len(output), errors) == (0, 100_000, "y")


def test_what_is_left_is_not_taken_apart() -> None:
    assert run("import atexit; atexit.register(print, 'taken apart')") == (0, "", "")


def test_a_closed_output_is_no_error() -> None:
    assert run("sys.stdout = sys.stderr = None") == (0, "", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_whoever_starts_it_closes_is_as_good_as_any(closed: str) -> None:
    """And no file that the command opens gets its number, under which libraries would print into it."""
    body = (
        "print('output'); print('errors', file=sys.stderr); sys.stdin.read(0)\n"
        " sys.exit(3 if open(sys.executable).fileno() > 2 and sys.stderr.isatty() is False else 4)"
    )
    streams = {">": "output\n", "2": "errors\n"}
    heard = tuple("" if f"{sign}{'>' * (sign == '2')}&-" in closed.split() else said for sign, said in streams.items())
    assert run(body, closed) == (3, *heard)


@pytest.mark.parametrize(
    "environment", [{"PYTHONUTF8": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_every_name_can_be_printed(environment: dict[str, str]) -> None:
    body = r"for stream in (sys.stdout, sys.stderr): print('caf\xe9 \U0001f600 \udcff', file=stream)"
    assert run(body, PYTHONIOENCODING="", **environment) == (0, *["caf\xe9 \U0001f600 \\udcff\n"] * 2)


def test_an_error_of_the_program_shows_where() -> None:
    status, _, errors = run("1 / 0")
    assert (status, errors.splitlines()[0], errors.splitlines()[-1]) == (
        1,
        "Traceback (most recent call last):",
        "ZeroDivisionError: division by zero",
    )


def test_a_message_as_status_is_printed() -> None:
    assert run("sys.exit('no such thing')") == (1, "", "no such thing\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_command_tidy_up_and_is_named(number: signal.Signals) -> None:
    body = f"try: signal.raise_signal({number:d}); print('goes on')\n finally: print('tidy')"
    assert run(body) == (128 + number, "tidy\n", f"stopped by {number.name}\n")
