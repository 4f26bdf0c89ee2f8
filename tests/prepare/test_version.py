"""Datasets come under DVC: what is tracked can be fetched again, and nothing changed means nothing done."""

import errno
import fcntl
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.errors import LavaflowError
from tasks.prepare.version import add_version, commit_lock
from tasks.recipe import Version
from tasks.refs import DatasetRef
from tasks.store import digest_tree

DVC = [sys.executable, "-m", "dvc"]


def dataset(content: str) -> DatasetRef:
    folder = Path("runs/prepare") / content
    folder.mkdir(parents=True)
    for name in ("rows-00000.parquet", "card.json", "manifest.json"):
        (folder / name).write_text(f"{name} {content}")
    return DatasetRef(path=str(folder), digest=digest_tree(folder), rows=1, splits={"train": 1}, reasons={})


def dvc(*words: str) -> str:
    return subprocess.run([*DVC, *words], capture_output=True, text=True, check=True).stdout


def snapshot() -> dict[str, int]:
    """Every file of the workspace with its time of change, DVC's scratch files aside."""
    files = (path for path in Path().rglob("*") if path.is_file() and ".dvc/tmp" not in str(path))
    return {str(path): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in git with a DVC repository and a folder as its remote."""
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    shutil.copy(Path(__file__).parents[2] / ".gitignore", folder)
    subprocess.run([*DVC, "init", "-q"], cwd=folder, check=True)
    with (folder / ".dvc/config").open("a") as config:
        config.write("[core]\n    remote = store\n['remote \"store\"']\n    url = ../store\n")
        config.write('[cache]\n    type = "reflink,hardlink,copy"\n')  # as in the project's own configuration
    return folder


@pytest.fixture
def remote(workspace: Path, repository: Path) -> Path:
    """The workspace as such a repository."""
    shutil.copytree(repository, workspace, dirs_exist_ok=True)
    return workspace / "store"


def test_a_version_is_pushed_and_can_be_fetched_again(remote: Path):
    first, second = dataset("one"), dataset("two")
    old = add_version(first, "shop", Version())
    new = add_version(second, "shop", Version())
    assert old.pushed
    assert new.pushed
    assert old.md5 != new.md5
    assert new.text == Path("data/prepared/shop.dvc").read_text()
    assert new.md5 in new.text
    assert Path("data/prepared/shop/card.json").read_text() == "card.json two"
    Path("data/prepared/shop.dvc").write_text(old.text)
    for gone in ("data/prepared/shop", ".dvc/cache", "runs"):
        shutil.rmtree(gone)
    dvc("pull", "-q")
    assert Path("data/prepared/shop/card.json").read_text() == "card.json one"
    assert not Path("data/prepared/shop/manifest.json").exists()


def test_a_gitignore_that_hides_the_version_from_dvc_is_named(remote: Path):
    Path(".gitignore").write_text("/data/*\n!/data/prepared/\n")
    with pytest.raises(LavaflowError, match=r"does not see data/prepared/shop\.dvc, because \.gitignore"):
        add_version(dataset("one"), "shop", Version())


def test_the_tracked_folder_takes_no_room_and_leaves_the_result_as_it_was(remote: Path):
    ref = dataset("one")
    mode = (ref.folder / "card.json").stat().st_mode
    add_version(ref, "shop", Version())
    assert Path("data/prepared/shop/card.json").samefile(ref.folder / "card.json")
    assert (ref.folder / "card.json").stat().st_mode == mode
    assert digest_tree(ref.folder) == ref.digest
    assert "Data and pipelines are up to date" in dvc("status")


def test_nothing_changed_means_nothing_done_in_less_than_a_second(remote: Path):
    ref = dataset("one")
    first = add_version(ref, "shop", Version())
    before, folder = snapshot(), Path("data/prepared/shop").stat().st_ino
    started = time.process_time()  # not the clock on the wall: the machine may be busy
    assert add_version(ref, "shop", Version()) == first
    assert time.process_time() - started < 1
    assert snapshot() == before
    assert Path("data/prepared/shop").stat().st_ino == folder


def test_a_killed_run_is_mended_by_the_next(remote: Path):
    ref = dataset("one")
    add_version(ref, "shop", Version())
    Path("data/prepared/shop").rename("data/prepared/.shop.old")  # killed between the two renames
    Path("data/prepared/.shop.new").mkdir()
    add_version(ref, "shop", Version())
    assert Path("data/prepared/shop/card.json").exists()
    assert not list(Path("data/prepared").glob(".shop.*"))


def test_a_dvc_file_that_a_full_disk_left_empty_is_written_again(remote: Path):
    ref = dataset("one")
    version = add_version(ref, "shop", Version())
    Path("data/prepared/shop.dvc").write_text("")
    assert add_version(ref, "shop", Version()) == version


def test_half_a_dvc_repository_is_not_left_behind(workspace: Path, monkeypatch: pytest.MonkeyPatch):
    def full(folder: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dvc.repo.init.init_dvcignore", full)
        with pytest.raises(OSError, match="No space left"):
            add_version(dataset("one"), "shop", Version())
    assert add_version(dataset("two"), "shop", Version()).md5


def test_without_a_dvc_repository_one_is_made_and_without_a_remote_the_run_goes_on(
    workspace: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    version = add_version(dataset("one"), "shop", Version())
    assert not version.pushed
    assert Path(".dvc/config").exists()
    assert "dvc remote add" in caplog.text
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("dvc")]


def test_a_run_commits_nothing_to_git(remote: Path):
    add_version(dataset("one"), "shop", Version())
    log = subprocess.run(["git", "log", "--oneline"], capture_output=True, text=True, check=False)
    assert log.stdout == ""
    ignored = subprocess.run(["git", "check-ignore", "data/prepared/shop"], capture_output=True, check=False)
    assert ignored.returncode == 0


def test_a_remote_that_is_not_there_is_named(remote: Path):
    with pytest.raises(LavaflowError, match="nope"):
        add_version(dataset("one"), "shop", Version(remote="nope"))


def test_another_dvc_process_is_one_clear_line(remote: Path):
    ref = dataset("one")
    with Path(".dvc/tmp/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LavaflowError, match="another DVC process") as caught:
            add_version(ref, "shop", Version())
    assert "\n" not in str(caught.value)


PIPELINE = """\
stages:
  one:
    cmd: cp in.txt refs/shop/one.json
    deps: [in.txt]
    outs: [refs/shop/one.json: {cache: false}]
  two:
    cmd: cp refs/shop/one.json refs/shop/two.json
    deps: [refs/shop/one.json]
    outs: [refs/shop/two.json: {cache: false}]
"""


@pytest.fixture
def pipeline(remote: Path) -> None:
    Path("dvc.yaml").write_text(PIPELINE)
    Path("refs/shop").mkdir(parents=True)
    for name in ("in.txt", "refs/shop/one.json"):
        Path(name).write_text("x")


def test_the_lock_says_that_what_was_run_by_other_means_is_done(pipeline: None):
    Path("refs/shop/two.json").write_text("x")
    assert commit_lock("shop")
    assert "Data and pipelines are up to date" in dvc("status")
    assert "didn't change" in dvc("repro")
    before = snapshot()
    assert not commit_lock("shop")
    assert snapshot() == before


def test_stages_that_have_not_run_are_left_for_dvc_to_run(pipeline: None):
    assert commit_lock("shop")
    assert "one:" not in dvc("status")
    dvc("repro")
    assert Path("refs/shop/two.json").read_text() == "x"


def test_a_run_of_another_recipe_leaves_the_lock_alone(pipeline: None):
    assert not commit_lock("digits")
    assert not Path("dvc.lock").exists()


def test_what_dvc_cannot_do_is_a_warning_for_the_run_is_done(pipeline: None, caplog: pytest.LogCaptureFixture):
    Path("dvc.yaml").write_text("stages: [")
    assert not commit_lock("shop")
    assert "dvc.lock is not up to date" in caplog.text


def test_without_a_pipeline_there_is_no_lock(workspace: Path):
    assert not commit_lock("shop")
    assert not Path(".dvc").exists()
