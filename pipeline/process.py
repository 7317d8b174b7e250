"""How the process of a command speaks and ends: at once when it is done, tidily when a signal stops it."""

import codecs
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_stopped_by = 0


def run_to_the_end(command: Callable[[], object]) -> NoReturn:
    """Run `command` and end this process with its exit status, or with 128 and the number of the signal."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _stop)
    _prepare_streams()
    try:
        command()
        status = 0
    except BaseException as error:
        if _stopped_by:
            status = 128 + _stopped_by
            print(f"stopped by {signal.Signals(_stopped_by).name}", file=sys.stderr)
        elif isinstance(error, SystemExit) and isinstance(error.code, int):
            status = error.code
        else:
            raise
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as a command may have set it
            stream.flush()
    # Measured: to take NumPy, ONNX Runtime and pyarrow apart would take 0.1 s, a fifth of a short command.
    os._exit(status)


def _prepare_streams() -> None:
    """Let every name be printed, and what is printed go nowhere where whoever started the process closed a stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            void = open(os.devnull, "w" if number else "r", encoding="utf-8")  # noqa: PTH123, SIM115  (to the end)
            setattr(sys, name, void)
            try:
                os.fstat(number)
            except OSError:  # the next file to be opened would get the number, and what libraries print there
                os.dup2(void.fileno(), number)
        elif number:
            # Names of files need not be text. ASCII is what Python finds where nobody has set a language.
            plain = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if plain else None, errors="backslashreplace")


def _stop(number: int, _: object) -> None:
    """Let what is half-written be removed."""
    for other in _SIGNALS:  # once is enough: what is being tidied up must not be torn
        signal.signal(other, signal.SIG_IGN)
    global _stopped_by  # noqa: PLW0603  (what is being imported may turn the exception into one of its own)
    _stopped_by = number
    raise SystemExit(128 + number)
