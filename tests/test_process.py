"""How a process ends: what it says is said, whatever is left to be taken apart."""

import signal
import subprocess
import sys

import pytest


def run(command: str) -> tuple[int, str, str]:
    """Status, output and errors of a process whose command has this body, and which hears every signal."""
    script = f"import signal, sys\nfrom pipeline.process import run_to_the_end\ndef command():\n {command}\n"
    # Shells and nohup have what they start ignore some, and so would this process of a test that runs there.
    script += "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_DFL)\n"
    script += "run_to_the_end(command)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
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
