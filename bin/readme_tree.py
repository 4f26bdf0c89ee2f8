"""Writes the README's tree: one line a file, from the first sentence of its docstring.

python bin/readme_tree.py            # rewrite README.md
python bin/readme_tree.py --check    # exit status 1 if the README's tree is not true
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOP = """\
README.md, CONTRIBUTING.md    what it is; how to work on it
pyproject.toml                distribution, dependencies with their reasons, extras, tools
constraints.txt               the exact versions that work together
Makefile                      install, demo, test, lint, bench, up / down, deploy, worker, repro, vllm, clean
prefect.yaml                  deployments: schedule, event trigger, promotion, rollback
dvc.yaml                      the file-to-file stages, for `dvc repro` without a server
params/                       one recipe a file; tasks/recipe.py explains every key
data/                         what DVC versions; no Python
bin/                          helpers of the Makefile
tests/                        mirrors flows/ and tasks/
"""
FOLDERS = {
    "flows": "what runs in which order, and nothing else",
    "tasks": "what is done; a room a stage",
    "tasks/sample": "the embedded data and base model",
    "tasks/prepare": "raw rows in, clean versioned dataset out",
    "tasks/train": "staged fine-tuning, packed and resumable",
    "tasks/evaluate": "benchmarks, hold-out, paired comparison",
    "tasks/quantize": "4-bit exports",
    "tasks/release": "registry, gates, promotion, serving",
    "tasks/report": "one HTML file a run",
}
START, END = "<!-- tree: made by bin/readme_tree.py -->", "<!-- end of tree -->"
WIDTH = 92


def tree() -> str:
    """The README's block."""
    lines = [TOP]
    for folder, about in FOLDERS.items():
        lines.append(f"{folder}/".ljust(30) + about)
        for file in sorted((ROOT / folder).glob("*.py")):
            if file.name != "__init__.py":
                lines.append(f"  {file.name}".ljust(30) + _about(file))
    return "```\n" + "\n".join(lines) + "\n```"


def _about(file: Path) -> str:
    said = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    first = re.split(r"(?<=\w)[.;] |\.$", said)[0]
    if len(first) > WIDTH:  # up to the last comma or colon that fits
        first = re.split(r"[,:][^,:]*$", first[:WIDTH])[0]
    return first


def main() -> int:
    """Write or check."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    new = f"{before}{START}\n{tree()}\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv:
        return int(new != text)
    readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
