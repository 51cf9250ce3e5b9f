"""The store a command works on: which it is, and opening it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import click

from backline.app.app import DEFAULT_URL
from backline.cli.common import ExitCode, Failure, surroundings
from backline.cli.loading import load_app
from backline.cli.remedies import ANY_APP, the_app
from backline.clock import Clock
from backline.job import Micros
from backline.store import Store

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Session:
    """An open store, and the clock that belongs to it."""

    store: Store
    clock: Clock

    @property
    def now(self) -> Micros:
        """Wall time, as the store sees it."""
        return self.clock.now()


Work: TypeAlias = Callable[..., Coroutine[Any, Any, int | None]]
"""Takes a Session, then the command's options by name."""


def with_store(work: Work) -> Callable[..., int | None]:
    """A command that needs only the store: adds `--store` and `--app`, opens it, runs `work`."""

    @functools.wraps(work)
    def command(store_url: str | None, app_target: str | None, **kwargs: Any) -> int | None:
        return run_on(store_of(store_url, app_target), functools.partial(work, **kwargs))

    return store_options(command)


def run_on(store: Store, work: Callable[[Session], Awaitable[T]]) -> T:
    """Open the store, run `work` on it, close it."""

    async def session() -> T:
        await store.open()
        try:
            return await work(Session(store=store, clock=surroundings().clock))
        finally:
            await store.close()

    return asyncio.run(session())


def store_of(url: str | None, target: str | None, *, create: bool = False) -> Store:
    """The store that the options and the environment name; not open yet.

    `--store`, else that of `--app`, BACKLINE_URL, that of BACKLINE_APP, or backline.db here.
    Raises Failure for a store that other processes cannot see, and, unless `create`, for a
    file that is not there.
    """
    around = surroundings()
    if url is None and target is None:
        url = around.environ.get("BACKLINE_URL") or None
        target = None if url else around.environ.get("BACKLINE_APP") or None
    if url is None:
        url = DEFAULT_URL if target is None else str(load_app(target).url)
    refuse_memory(url)
    store = around.open_store(url, clock=around.clock)
    path = sqlite_file(url)
    if path is not None and not create and not path.exists():
        raise _no_store(url, path, target)
    return store


def _no_store(url: str, path: Path, target: str | None) -> Failure:
    """Nothing of the app has run yet, or this is not its store: an empty one would help neither."""
    there = path.parent.is_dir()
    if not there:
        fix = f"mkdir -p {path.parent}, or name another with --store"
    elif target is not None:
        fix = f"backline worker {the_app()}, which makes it (so does the first enqueue)"
    else:
        fix = f"the same command with -A {ANY_APP}, for the store of your app, or with --store URL"
    what = f"there is no store at {url} yet: no such {'file' if there else 'folder'}"
    return Failure(what, fix=fix, code=ExitCode.STORE)


def refuse_memory(url: str) -> None:
    """Raises Failure for `memory://`, which no other process sees."""
    if url.startswith("memory:"):
        raise Failure(
            "memory:// keeps jobs inside one process: this command would see none of them",
            fix=f"--store {DEFAULT_URL}",
            code=ExitCode.STORE,
        )


def sqlite_file(url: str) -> Path | None:
    """The file of a sqlite URL; None for any other store."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc:
        return None
    return Path(unquote(parts.path.removeprefix("/")))


def store_options(command: F) -> F:
    """`--store` and `--app`, as `store_url` and `app_target`."""
    app = click.option(
        "-A",
        "--app",
        "app_target",
        metavar="MODULE:APP",
        help="Use the store of this app.  [env: BACKLINE_APP]",
    )
    store = click.option(
        "--store",
        "store_url",
        metavar="URL",
        help=f"The store.  [env: BACKLINE_URL; default: {DEFAULT_URL}]",
    )
    return store(app(command))
