"""A child process ends when we end, however we end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks.child import child

CODE = """
import sys, time
from pathlib import Path
from tasks.child import child
with child([sys.executable, "-c", "import time; time.sleep(60)"], log=Path("child.log")) as process:
    print(process.pid, flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended, within ten seconds."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_kill_9_of_the_parent_ends_the_child(workspace):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_leaving_the_block_ends_the_childs_children_too(workspace):
    stubborn = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn += "; print(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {stubborn!r}]); time.sleep(60)"
    with child([sys.executable, "-c", parent], log=Path("child.log")):
        while not Path("child.log").read_text().strip():
            time.sleep(0.02)
    assert gone(int(Path("child.log").read_text()))


def test_leaving_the_block_ends_the_child_and_keeps_what_it_said(workspace):
    talk = "import time; print('here', flush=True); time.sleep(60)"
    with child([sys.executable, "-c", talk], log=Path("child.log")) as process:
        while not Path("child.log").read_text():
            time.sleep(0.02)
    assert process.poll() is not None
    assert Path("child.log").read_text() == "here\n"
