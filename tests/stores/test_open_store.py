"""A URL names a store, or the error names the URLs there are."""

import re
from pathlib import Path
from typing import Literal

import pytest

from backline import App
from backline.errors import ConfigError
from backline.stores import check_url, open_store
from backline.stores.memory import MemoryStore
from backline.stores.sqlite import SqliteStore
from backline.testing.clock import VirtualClock


def test_each_memory_store_is_its_own() -> None:
    one, two = open_store("memory://"), open_store("memory://")
    assert isinstance(one, MemoryStore)
    assert one is not two
    assert one.url == "memory://"


def test_three_slashes_are_relative_and_four_are_absolute(tmp_path: Path) -> None:
    clock = VirtualClock()
    relative = open_store("sqlite:///some/jobs.db", clock=clock)
    absolute = open_store(f"sqlite:///{tmp_path}/jobs.db", clock=clock)
    assert isinstance(relative, SqliteStore)
    assert str(relative.url).endswith("some/jobs.db")
    assert absolute.url == f"sqlite:///{tmp_path}/jobs.db"


def test_a_name_may_be_quoted(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/my%20jobs.db")
    assert "my jobs.db" in repr(store)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "memory://"),
        ("jobs.db", "sqlite:///relative.db"),
        ("mongodb://localhost/jobs", "sqlite:///relative.db"),
        ("memory://somewhere", "memory://"),
        ("sqlite://jobs.db", "sqlite:///jobs.db"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "write memory://"),
        ("sqlite:///file::memory:", "write memory://"),
        ("sqlite:///%3Amemory%3A?durability=normal", "write memory://"),
        ("sqlite:///jobs.db?durability=often", "durability=full"),
        ("sqlite:///jobs.db?cache=9", "durability=full"),
    ],
)
def test_a_url_that_names_no_store_is_refused_with_the_remedy(url: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        open_store(url)
    assert remedy in str(refusal.value)
    assert repr(url) in str(refusal.value)
    with pytest.raises(ConfigError, match=re.escape(remedy)):
        check_url(url)


def test_an_app_refuses_such_a_url_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("", "tasks", "redis://x", "sqlite:///:memory:"):
        with pytest.raises(ConfigError, match="memory://"):
            App(url)
    with pytest.raises(ConfigError, match="is a str"):
        App(Path("jobs.db"))  # type: ignore[arg-type]
    monkeypatch.setenv("BACKLINE_URL", "redis://x")
    with pytest.raises(ConfigError, match="BACKLINE_URL: no store answers"):
        App()
    assert App("memory://").url == "memory://"
    monkeypatch.setenv("BACKLINE_URL", "")
    assert App().url == "sqlite:///backline.db"


@pytest.mark.parametrize("name", ["50%20off.db", "what?.db", "a#b.db", "a&b=c.db", "æ 日本.db"])
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_the_url_of_a_store_opens_the_same_file(
    name: str, durability: Literal["full", "normal"], tmp_path: Path
) -> None:
    store = SqliteStore(tmp_path / name, durability=durability)
    again = open_store(store.url)
    assert isinstance(again, SqliteStore)
    assert (again._path, again._durability) == (tmp_path / name, durability)


def test_a_refusal_says_no_secrets() -> None:
    for url in ("postgres://me:hidden@host/jobs", "postgres://me:hidden@[host/jobs"):
        with pytest.raises(ConfigError, match=re.escape("postgres://me:***@")) as refusal:
            open_store(url)
        assert "hidden" not in str(refusal.value)
