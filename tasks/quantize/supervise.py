"""Runs a worker to its end: a progress line while it works, one clear line if it fails.

    report = run_worker(job, log=Path("runs/quantize/ab12.log"))

This process never imports gptqmodel, and torch neither.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from tqdm import tqdm

from tasks.child import child
from tasks.errors import LavaflowError
from tasks.quantize.job import EVENTS, REPORT, Event, Job, Report

POLL = 0.2
"""Seconds between two looks at the worker."""


def run_worker(job: Job, log: Path) -> Report:
    """Start the worker, show how far it is, and give back its report.

    Args:
        job: what to do.
        log: file that takes everything the worker prints.

    Raises:
        LavaflowError: the worker failed; says why, and where its log is.
    """
    last = Event(done=0, of=1, step="starting")
    with (
        # in there, so that it goes with the partial result if we are killed
        tempfile.TemporaryDirectory(prefix=".worker-", dir=job.out) as scratch,
        _start(job, Path(scratch), log) as process,
        (Path(scratch) / EVENTS).open(encoding="utf-8") as lines,
        tqdm(total=1, desc=f"quantize {job.method}", unit="step", postfix=last.step) as bar,
    ):
        while True:
            ended = process.poll() is not None
            for line in lines:
                last = Event.model_validate_json(line)
                bar.total = last.of
                bar.update(last.done - bar.n)
                bar.set_postfix_str(last.step)
            if ended:
                break
            _wait(process)
        if process.returncode == 0:
            bar.update(last.of - bar.n)
    if process.returncode != 0:
        raise LavaflowError(last.error or f"quantize {job.method}: {_reason(process.returncode, log)}; log: {log}")
    return Report.model_validate_json((Path(job.out) / REPORT).read_bytes())


def _start(job: Job, scratch: Path, log: Path) -> "AbstractContextManager[subprocess.Popen[bytes]]":
    file = scratch / "job.json"
    file.write_text(job.model_dump_json(), encoding="utf-8")
    (scratch / EVENTS).touch()
    command = [sys.executable, "-m", "tasks.quantize.worker", str(file)]
    return child(command, log=log, environment=_environment(scratch))


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(POLL)
    except subprocess.TimeoutExpired:
        return


def _environment(scratch: Path) -> dict[str, str]:
    """What the worker alone gets."""
    root = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": f"{root}{os.pathsep}{known}" if known else root,
        # the library's own rule gives one worker on two cores, and then refuses to start with fewer than two
        "GPTQMODEL_CPU_WORKERS": str(max(2, min(12, (os.cpu_count() or 1) // 2))),
        "GPTQMODEL_DISABLE_GIL_WARNING": "1",
        "HF_HUB_OFFLINE": "1",  # everything is in local folders
        "HF_HOME": str(scratch),
    }


def _reason(code: int, log: Path) -> str:
    """Why the worker ended: the signal that killed it, or the last line it printed."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (the machine may be out of memory: fewer samples need less)" if name == "SIGKILL" else ""
        return f"the worker was ended by {name}{hint}"
    printed = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    told = [line.strip() for line in printed if line.strip()]
    return told[-1][:300] if told else f"the worker ended with {code} and said nothing"
