"""Freed memory stays in the process."""

import platform
import subprocess
import sys

import pytest

LOOP = """
import resource, sys
import numpy as np
from tasks.heap import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
np.ones(2**21)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**21)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", LOOP, how], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's allocator")
def test_an_array_of_a_size_that_was_freed_costs_no_page_faults():
    assert faults("kept") * 10 < faults("returned")
