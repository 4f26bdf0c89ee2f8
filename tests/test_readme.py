"""The README stays true."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tree_has_one_line_a_file():
    done = subprocess.run([sys.executable, "bin/readme_tree.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, "run: python bin/readme_tree.py"


def test_every_make_target_it_names_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|^ {4})make ([a-z]+)", (ROOT / "README.md").read_text(), re.M))
    assert {"demo", "test"} <= named <= targets
