"""The worker is a process of its own: how it fails, and that it ends with its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.errors import LavaflowError
from tasks.quantize.job import Job
from tasks.quantize.supervise import run_worker
from tasks.refs import DatasetRef, ModelRef

PARENT = """
import sys
from pathlib import Path
from tasks.quantize.job import Job
from tasks.quantize.supervise import run_worker
run_worker(Job.model_validate_json(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
"""


@pytest.fixture
def job(merged: ModelRef, data: DatasetRef, tmp_path: Path) -> Job:
    out = tmp_path / "out"
    out.mkdir()
    return Job(
        method="awq",
        bits=4,
        group_size=32,
        samples=8,
        merged=merged.path,
        merged_digest=merged.digest,
        data=data.path,
        data_digest=data.digest,
        out=str(out),
        dtype="float32",
        device="cpu",
        engine_asked="gptqmodel",
    )


def test_a_reason_the_user_can_mend_comes_as_it_is(job: Job, tmp_path: Path) -> None:
    odd = job.model_copy(update={"group_size": 96})
    with pytest.raises(LavaflowError, match=r"^quantize\.awq\.group_size: 96 does not divide .* width 256; use 32"):
        run_worker(odd, tmp_path / "worker.log")


def test_a_failure_shows_the_last_line_and_where_the_log_is(job: Job, tmp_path: Path) -> None:
    lost = job.model_copy(update={"merged": str(tmp_path)})
    with pytest.raises(LavaflowError, match=r"^quantize awq: ValueError: .*config\.json.*; log: .*worker\.log$"):
        run_worker(lost, tmp_path / "worker.log")
    assert "Traceback" in (tmp_path / "worker.log").read_text()


def test_a_killed_worker_is_named_with_its_signal(job: Job, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(job.model_dump_json())
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(file), str(tmp_path / "worker.log")], stderr=subprocess.PIPE, text=True
    )
    os.kill(_worker_of(parent.pid), signal.SIGKILL)
    _, told = parent.communicate(timeout=60)
    assert "LavaflowError: quantize awq: the worker was ended by SIGKILL (the machine may be out of memory" in told


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_killing_the_parent_ends_the_worker(job: Job, tmp_path: Path) -> None:
    file, log = tmp_path / "job.json", tmp_path / "worker.log"
    file.write_text(job.model_dump_json())
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(file), str(log)], stderr=subprocess.DEVNULL)
    worker = _worker_of(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    assert _gone(worker, seconds=10)


def _worker_of(parent: int) -> int:
    """The process id of the parent's child, once it runs our module."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for child in children.read_text().split():
            if b"tasks.quantize.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        time.sleep(0.02)
    raise AssertionError("the worker did not start")


def _gone(process: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
