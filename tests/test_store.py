"""The store: done once, whole or not at all, and stale when what decides it has changed."""

import multiprocessing
import time

import pytest

from tasks.errors import LavaflowError
from tasks.refs import Ref
from tasks.store import CODE, Stage, code_digest, digest_tree, run_stage

STAGE = Stage("demo", ("errors",), Ref)


def make(count, text="x", fail=False):
    def build(folder):
        count.append(1)
        (folder / "out.txt").write_text(text)
        if fail:
            raise RuntimeError("half-way")
        return {}

    return build


def test_an_unchanged_stage_is_not_built_again(workspace):
    calls: list[int] = []
    first = run_stage(STAGE, inputs={"a": "1"}, section={"lr": 1}, build=make(calls))
    assert run_stage(STAGE, inputs={"a": "1"}, section={"lr": 1}, build=make(calls)) == first
    assert len(calls) == 1
    assert first.digest == digest_tree(first.folder)


@pytest.mark.parametrize(
    "change", [{"inputs": {"a": "2"}}, {"section": {"lr": 2}}, {"stage": Stage("demo", ("refs",), Ref)}]
)
def test_other_inputs_settings_or_code_make_another_result(workspace, change):
    calls: list[int] = []
    plain = {"stage": STAGE, "inputs": {"a": "1"}, "section": {"lr": 1}}
    for values in (plain, plain | change):
        run_stage(values["stage"], inputs=values["inputs"], section=values["section"], build=make(calls))
    assert len(calls) == 2


def test_a_failed_build_leaves_no_result_and_starts_from_nothing(workspace):
    with pytest.raises(RuntimeError):
        run_stage(STAGE, inputs={}, section={}, build=make([], fail=True))
    assert not list(workspace.glob("runs/demo/*/manifest.json"))

    def build(folder):
        assert not list(folder.iterdir())
        return {}

    run_stage(STAGE, inputs={}, section={}, build=build)


def test_a_resumable_stage_finds_what_it_left(workspace):
    stage = Stage("demo", ("errors",), Ref, resumable=True)
    with pytest.raises(RuntimeError):
        run_stage(stage, inputs={}, section={}, build=make([], fail=True))

    def build(folder):
        assert (folder / "out.txt").exists()
        return {}

    run_stage(stage, inputs={}, section={}, build=build)


def _hold(ready):
    def build(folder):
        ready.set()
        time.sleep(30)
        return {}

    run_stage(STAGE, inputs={}, section={}, build=build)


def test_a_second_run_beside_the_first_is_told_so_and_a_killed_one_leaves_no_lock(workspace):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=_hold, args=(ready,))
    other.start()
    assert ready.wait(20)
    with pytest.raises(LavaflowError, match=rf"being made by another run \(process {other.pid}\)"):
        run_stage(STAGE, inputs={}, section={}, build=make([]))
    other.kill()
    other.join()
    run_stage(STAGE, inputs={}, section={}, build=make([]))


@pytest.mark.parametrize("damage", ["manifest", "gone", "cut"])
def test_a_damaged_result_is_made_again(workspace, damage, caplog):
    def build(folder):
        (folder / "out.txt").write_text("whole")
        return {}

    ref = run_stage(STAGE, inputs={}, section={}, build=build)
    out = ref.folder / "out.txt"
    {"manifest": lambda: (ref.folder / "manifest.json").write_text("{"), "gone": out.unlink,
     "cut": lambda: out.write_text("wh")}[damage]()  # fmt: skip
    assert run_stage(STAGE, inputs={}, section={}, build=build) == ref
    assert out.read_text() == "whole"
    assert caplog.text.count("is damaged") == 1


def test_comments_docstrings_and_formatting_do_not_make_results_stale(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.store.CODE", tmp_path)  # another folder of code, read for real

    def digest(text):
        (tmp_path / "room.py").write_text(text)
        code_digest.cache_clear()
        return code_digest(("room",))

    plain = digest("def f(x):\n    return x + 1\n")
    assert digest('"""About."""\ndef f( x ):\n    """More."""\n    # why\n    return (x + 1)\n') == plain
    assert digest("def f(x):\n    return x + 2\n") != plain
    code_digest.cache_clear()
    assert CODE.name == "tasks"
