"""Keeps freed memory in the process, so that the next tensor of that size costs no page faults.

    keep_freed_memory()      # once, before a long loop over tensors on the CPU

glibc hands blocks of more than 128 KiB back to the kernel as soon as they are freed, and every update of a training
loop then pays for fresh zeroed pages. On the sample's pre-training that is a third of the wall time on two cores.
"""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 32 * 2**20
"""Bytes from which a block is mapped on its own; glibc takes no more."""
KEPT = 2**31 - 1
"""Bytes of free memory at the heap's end that are kept."""


def keep_freed_memory() -> None:
    """Set the two thresholds of glibc's allocator; does nothing elsewhere."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
