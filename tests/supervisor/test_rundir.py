"""The run directory: who owns which folder, and who may adopt it."""

import subprocess
import sys
from pathlib import Path

import pytest

from backline.errors import ConfigError
from backline.supervisor.rundir import Folder, abandoned
from backline.supervisor.settings import default_run_dir

URL = "sqlite:////tmp/jobs.db"
MAKE = """
import sys
from pathlib import Path
from backline.supervisor.rundir import Folder

folder = Folder.make(Path(sys.argv[1]), sys.argv[2])
folder.belongs_to(sys.argv[3])
folder.board("w-1").write_bytes(b"")
print("made", flush=True)
sys.stdin.read()
"""


def test_a_living_supervisors_folder_is_its_own(tmp_path: Path) -> None:
    folder = Folder.make(tmp_path, "one")
    folder.belongs_to(URL)
    assert list(abandoned(tmp_path, URL)) == []
    folder.close()
    [adopted] = abandoned(tmp_path, URL)
    assert adopted.path == folder.path
    assert list(abandoned(tmp_path, URL)) == []  # the first to come has it
    adopted.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_a_folder_is_free_the_moment_its_owner_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path), "one", URL]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "made\n"
        assert list(abandoned(tmp_path, URL)) == []
        owner.kill()
        owner.wait(20)
    [folder] = abandoned(tmp_path, URL)
    assert folder.boards() == [folder.path / "w-1.board"]
    folder.remove()


def test_folders_of_another_store_or_of_unknown_ones_are_left_alone(tmp_path: Path) -> None:
    other, unknown = Folder.make(tmp_path, "other"), Folder.make(tmp_path, "unknown")
    other.belongs_to("sqlite:///other.db")
    other.close()
    unknown.close()
    (tmp_path / "a file").write_text("")
    assert list(abandoned(tmp_path, URL)) == []


def test_a_relative_path_means_another_store_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, here, there = tmp_path / "run", tmp_path / "here", tmp_path / "there"
    for url, same in (("sqlite:///jobs.db", False), ("postgresql://db/jobs", True)):
        here.mkdir(exist_ok=True)
        there.mkdir(exist_ok=True)
        monkeypatch.chdir(here)
        folder = Folder.make(run_dir, "one")
        folder.belongs_to(url)
        folder.close()
        monkeypatch.chdir(there)
        assert [found.close() for found in abandoned(run_dir, url)] == [None] * same
        folder.remove()


def test_the_url_stays_secret(tmp_path: Path) -> None:
    folder = Folder.make(tmp_path, "one")
    folder.belongs_to("postgresql://user:secret@db/jobs")
    assert all(b"secret" not in path.read_bytes() for path in folder.path.iterdir())
    folder.remove()


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(ConfigError, match="only you can write to"):
        Folder.make(open_to_all, "one")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="only you can write to"):
        Folder.make(link, "one")


def test_a_run_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = Folder.make(tmp_path / "deep" / "run", "one")
    assert (tmp_path / "deep" / "run").stat().st_mode & 0o777 == 0o700
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()


def test_where_boards_live_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_run_dir() == tmp_path / "backline"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert default_run_dir().parent == tmp_path
