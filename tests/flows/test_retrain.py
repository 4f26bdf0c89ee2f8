"""The whole loop as a user runs it: retrain, run again, try a worse recipe, go back."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flow_data import ROOT, lavaflow, write_workspace

WORSE = "train.stages.instruct.language_model.lr=1e-9"
"""A recipe that learns next to nothing."""


def test_a_better_model_is_promoted_and_the_end_says_what_and_where(retrained):
    _, said, _ = retrained
    assert "version 2 is promoted: it replaces version 1" in said
    for row in ("prepare", "train", "merge", "quantize gptq", "evaluate base", "hold-out better", "serves"):
        assert row in said
    report = Path(re.search(r"report +(\S+)", said).group(1))
    assert report.read_text().startswith("<!DOCTYPE html>")
    assert "FAILS" not in said


def test_a_run_that_succeeds_shows_progress_and_neither_traceback_nor_error(retrained):
    _, said, progress = retrained
    assert "Traceback" not in said + progress
    assert "ERROR" not in said + progress
    assert "train instruct: 100%" in progress


def test_every_row_is_kept_or_quarantined(retrained):
    folder, *_ = retrained
    ref = json.loads((folder / "refs/tiny/prepare.json").read_text())
    assert ref["rows"] == sum(ref["splits"].values()) + sum(ref["reasons"].values()) == 161
    assert ref["reasons"] == {"bad_json": 1}


def test_the_same_command_does_nothing_again(retrained):
    folder, *_ = retrained
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/manifest.json")}
    again = lavaflow(folder, "retrain", "tiny.yaml")
    assert "version 2 serves already; nothing has changed" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/manifest.json")} == before
    stages = [line for line in again.stdout.split("\n\n")[0].splitlines()[2:] if line]
    assert stages
    assert all("unchanged" in line for line in stages)


def test_with_nothing_to_do_torch_is_not_imported(retrained):
    folder, *_ = retrained
    code = (
        "import sys; from tasks.cli import main; status = main(['retrain', 'tiny.yaml']);"
        "print(status, [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/bin"},
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


@pytest.fixture
def copy(retrained, tmp_path):
    """A workspace of one's own after the shared retraining."""
    folder = tmp_path / "copy"
    shutil.copytree(retrained[0], folder, symlinks=True)
    return folder


def test_a_worse_model_is_refused_and_a_rollback_brings_the_previous_champion_back(copy):
    worse = lavaflow(copy, "retrain", "tiny.yaml", "--set", WORSE, check=False)
    assert worse.returncode == 3
    assert re.search(r"FAILS +hold-out better", worse.stdout)
    assert "version 3 is not promoted (hold-out better" in worse.stdout
    assert "version 2 serves on" in worse.stdout

    back = lavaflow(copy, "rollback", "tiny.yaml")
    assert "version 2 is rolled back and barred; version 1 serves" in back.stdout
    barred = lavaflow(copy, "retrain", "tiny.yaml", check=False)
    assert barred.returncode == 3
    assert re.search(r"FAILS +not barred +rolled back on", barred.stdout)
    assert "version 1 serves on" in barred.stdout

    lavaflow(copy, "promote", "tiny.yaml", "--lift", "2")
    assert "version 2 is promoted" in lavaflow(copy, "retrain", "tiny.yaml").stdout


def test_a_changed_learning_rate_trains_again_but_does_not_prepare_again(copy):
    before = {path.parent.parent.name for path in copy.glob("runs/*/*/manifest.json")}
    counts = {stage: len(list(copy.glob(f"runs/{stage}/*/manifest.json"))) for stage in before}
    lavaflow(copy, "train", "tiny.yaml", "--set", "train.stages.align.projector.lr=0.002")
    after = {stage: len(list(copy.glob(f"runs/{stage}/*/manifest.json"))) for stage in before}
    assert {stage for stage in before if after[stage] > counts[stage]} == {"train", "merge"}


def test_where_a_person_decides_the_candidate_waits(tmp_path):
    write_workspace(tmp_path / "w")
    short = ["--set", "promote.auto=false", "--set", "quantize.gptq=null", "--set", "serve.weights=merged"]
    waits = lavaflow(tmp_path / "w", "retrain", "tiny.yaml", *short)
    assert "version 2 waits for a person: lavaflow promote tiny.yaml" in waits.stdout
    promoted = lavaflow(tmp_path / "w", "promote", "tiny.yaml", *short)
    assert "version 2: promoted; version 2 serves" in promoted.stdout


def test_a_second_run_beside_the_first_ends_in_one_line(copy):
    code = (
        "import time; from pathlib import Path; from tasks.locks import exclusive\n"
        "with exclusive(Path('runs/retrain-tiny.lock'), 'x'): print('held', flush=True); time.sleep(120)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code], cwd=copy, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert first.stdout is not None
    first.stdout.readline()
    second = lavaflow(copy, "retrain", "tiny.yaml", check=False)
    first.kill()
    first.wait()
    first.stdout.close()
    assert second.returncode == 2
    assert f"tiny.yaml is being retrained by another run (process {first.pid})" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_full_disk_ends_in_one_line_and_the_same_command_goes_on(tmp_path):
    """On a file system of a few megabytes."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        write_workspace(small / "w", rows=60)
        (small / "filler").write_bytes(b"x" * (shutil.disk_usage(small).free - 250_000))
        full = lavaflow(small / "w", "train", "tiny.yaml", check=False)
        assert full.returncode == 2, full.stderr
        assert "the disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        (small / "filler").unlink()
        lavaflow(small / "w", "train", "tiny.yaml")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_dvc_is_clean_after_a_run_and_repro_skips_what_is_done(copy):
    text = (ROOT / "dvc.yaml").read_text().replace("digits", "tiny").replace("params/tiny.yaml", "tiny.yaml")
    stages = re.sub(r"  sample:\n(    .*\n)+", "", text).replace("refs/tiny/sample.json", "raw/rows.jsonl")
    stages = re.sub(r"tasks/\w+(, |\n)", lambda found: "tiny.yaml" + found.group(1), stages)
    stages = "\n".join(line for line in stages.splitlines() if "awq" not in line or "quantize-gptq" in line)
    stages = stages.replace(", {refs/tiny/quantize-awq.json: {cache: false}}", "")
    (copy / "dvc.yaml").write_text(stages + "\n")
    lavaflow(copy, "evaluate", "tiny.yaml")
    lavaflow(copy, "retrain", "tiny.yaml")
    status = subprocess.run([Path(sys.executable).with_name("dvc"), "status"], cwd=copy, capture_output=True, text=True)
    assert "up to date" in status.stdout, status.stdout + status.stderr
    started = time.monotonic()
    repro = subprocess.run([Path(sys.executable).with_name("dvc"), "repro"], cwd=copy, capture_output=True, text=True)
    assert repro.returncode == 0, repro.stderr
    assert "Running stage" not in repro.stdout
    assert time.monotonic() - started < 60
