"""File locks that vanish with their holder: `kill -9` leaves none behind, because the kernel holds them, not the file.

with exclusive(Path("runs/train/ab12.lock"), "train/ab12 is being made by another run"):
    ...
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import LavaflowError


@contextmanager
def exclusive(path: Path, taken: str) -> Iterator[None]:
    """Hold the lock file at `path`, or raise LavaflowError at once with `taken` and the holder's process id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise LavaflowError(f"{taken} (process {holder}); wait for it to end, or stop it, and run again") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)
