"""The command line: one line an error, help that teaches, and no waiting for what is not needed."""

import errno
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import console
from tasks.cli import RECIPE_COMMANDS, main, parser
from tasks.errors import LavaflowError

PARAMS = Path(__file__).parents[1] / "params"


def test_a_mistyped_key_is_one_line_and_status_2(capsys):
    assert main(["retrain", str(PARAMS / "digits.yaml"), "--set", "train.max_lenght=3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "train.max_lenght: no such key; did you mean `max_length`?" in line


def test_a_missing_source_is_one_line_that_names_it(workspace, capsys):
    sample_less = (PARAMS / "digits.yaml").read_text().replace("sample: digits", "")
    Path("mine.yaml").write_text(sample_less)
    assert main(["prepare", "mine.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data/digits/rows.jsonl" in line


@pytest.mark.parametrize("command", [*RECIPE_COMMANDS, "sample", "score", "data announce", "doctor"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([*command.split(), "--help"])
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 6


def test_help_waits_for_no_heavy_library():
    heavy = "[name for name in ('torch', 'prefect', 'mlflow') if name in sys.modules]"
    code = f"import sys; from tasks.cli import parser; parser(); print({heavy})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LavaflowError("it is so"), "it is so"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "the disk is full (runs/x)"),
        (RuntimeError("SafetensorError: No space left on device (os error 28)"), "the disk is full"),
        (KeyboardInterrupt(), "stopped; the same command goes on"),
    ],
)
def test_what_a_user_can_mend_has_words(error, words):
    assert words in (console.explain(error) or "")


def test_a_bug_keeps_its_traceback():
    assert console.explain(KeyError("x")) is None


def test_a_full_disk_behind_another_error_is_still_named():
    error = ValueError("cannot save")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "the disk is full" in (console.explain(error) or "")


def test_tables_align_figures_right_and_words_left():
    assert console.table([("a", 5), ("bcd", 1234)], ("name", "n")) == "name     n\n----  ----\na        5\nbcd   1234"


def test_words_wrap_where_a_table_is_wider_than_the_terminal():
    rows = [("ok", "27 points better, 8 worse", "runs/train/1cd9f29d39932d2d"), ("FAILS", "no", "")]
    shown = console.table(rows, ("", "measured", "result"), width=50)
    assert shown.splitlines() == [
        "       measured        result",
        "-----  --------------  ---------------------------",
        "ok     27 points       runs/train/1cd9f29d39932d2d",
        "       better, 8",
        "       worse",
        "FAILS  no",
    ]
    assert "runs/train/1cd9f29d39932d2d" in console.table(rows, width=10), "what has no spaces stays whole"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Finished in state Failed('OSError: [Errno 28] No space left on device')", False),
        ("Finished in state Failed('LavaflowError: no such key')", False),
        ("Crash detected! Execution was aborted by an interrupt signal.", False),
        ("Finished in state Failed('KeyError: x')", True),
    ],
)
def test_prefect_does_not_repeat_what_gets_its_one_line(said, shown):
    record = logging.makeLogRecord({"msg": said, "levelno": logging.ERROR})
    assert console.OneLineErrors().filter(record) is shown


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(OSError, match="Not a directory") as caught:
        (tmp_path / "runs" / "train").mkdir()
    assert console.explain(caught.value) == (
        f"{tmp_path}/runs/train: Not a directory; put it right and run the same command again"
    )
