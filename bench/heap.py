"""What does `tasks.heap.keep_freed_memory` save on the sample's pre-training?

    python bench/heap.py

One short pre-training of the demo's widths in two fresh processes: one keeps freed memory, one does as glibc does by
default. Prints wall time and page faults of both, and the ratio.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tasks.console import set_up, table
from tasks.heap import keep_freed_memory
from tasks.sample import pretrain as room
from tasks.sample.scans import deal
from tasks.sample.size import BaseSize

SIZE = BaseSize(pictures=800, clip_steps=60, steps=60)


def main() -> int:
    """Measure."""
    set_up(verbose=False)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        default, kept = (processes.apply(measure, (keep,)) for keep in (_nothing, keep_freed_memory))
    rows = [("glibc's default", *default), ("keep_freed_memory", *kept)]
    shown = [(name, f"{seconds:.1f} s", f"{faults:,}") for name, seconds, faults in rows]
    print(table(shown, header=("allocator", "pre-training", "page faults")))
    print(f"keep_freed_memory takes {kept[0] / default[0]:.2f} of the time")
    return 0


def measure(keep: Callable[[], None]) -> tuple[float, int]:
    """Seconds and page faults of a pre-training that calls `keep` first."""
    room.keep_freed_memory = keep
    pool = deal(SIZE.seed)["base"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        room.pretrain(pool, SIZE, Path(folder))
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _nothing() -> None:
    """Leave the allocator as it is."""


if __name__ == "__main__":
    sys.exit(main())
