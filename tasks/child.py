"""Starts a program of our own that ends when we end, however we end, with its output in a log file.

    with child([sys.executable, "-m", "tasks.quantize.worker", "job.json"], log=folder / "worker.log") as process:
        process.wait()

On Linux the kernel sends the child SIGTERM when its parent dies (`prctl(PR_SET_PDEATHSIG)`), so `kill -9` leaves no
server or worker behind.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


@contextmanager
def child(
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    grace: float = 10.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for as long as the block lasts.

    Args:
        arguments: program and its arguments.
        log: file that takes what it prints; replaced.
        environment: variables on top of this process's own.
        folder: to run it in; default this process's own.
        grace: seconds between SIGTERM and SIGKILL at the end.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            start_new_session=True,  # a terminal's Ctrl-C is for us; the child is ended below, in order
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        _signal_all(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        _signal_all(process, signal.SIGKILL)  # also what outlives it: an engine's worker holds the card's memory
        process.wait()


def _signal_all(leader: subprocess.Popen[bytes], number: int) -> None:
    """Signal a child and its children, which share a session of their own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, number)
