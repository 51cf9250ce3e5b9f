"""`backline demo`: sets the stage, plays the story, prints and draws what came out."""

import asyncio
import os
import platform
import shutil
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from backline.clock import SYSTEM_CLOCK
from backline.demo import picture, report
from backline.demo.album import Album, NoPhotographs, bundled, of_directory
from backline.demo.figures import Figures
from backline.demo.stage import WORKERS, Stage
from backline.demo.story import Story
from backline.errors import BacklineError
from backline.job import SECOND

EXIT_OK: Final = 0
EXIT_WRONG: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
MOST_USERS: Final = 50
_HOME: Final = "photo-service"
_CAMERA: Final = "camera"
_MOST_EACH: Final = 3
_AT_MOST_BUSY: Final = 20 * SECOND
"""About how long the uploads of one half of an act may keep all cores busy."""

T = TypeVar("T")


def main(photos: Path | None, output: Path, port: int | None, serve: bool) -> int:
    """Run the demo; returns the exit status.

    `photos`: a directory of pictures to upload; None: those that come with Backline.
    `output`: the directory for the report and, below `photo-service`, the service's files;
    those of an earlier run are deleted, and all pictures at the end. `port`: where the page
    is; None: any free one. `serve`: leave the page up after the story, until Ctrl-C.

    0: all came out as it should; 1: something did not, and was named; 2: `photos` has no
    pictures; 130: interrupted before the story was told.
    """
    try:
        home = output / _HOME
        if home.exists():
            shutil.rmtree(home)
        camera = home / _CAMERA
        album = of_directory(photos, camera) if photos else bundled(camera)
        return asyncio.run(Demo(album, output).run(port, serve))
    except NoPhotographs as error:
        _complain(str(error))
        return EXIT_USAGE
    except (BacklineError, OSError) as error:
        _complain(str(error))
        return EXIT_WRONG
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED


class Demo:
    """One run: an album to upload, a directory for what comes of it."""

    def __init__(self, album: Album, output: Path) -> None:
        self._album = album
        self._output = output

    async def run(self, port: int | None, serve: bool, users: int = MOST_USERS) -> int:
        """Set the stage, play, report; returns the exit status of `main`."""
        stage = Stage(self._output / _HOME, port)
        _say("Photographs in, thumbnails out: a photo service on Backline.")
        try:
            return await self._tell(stage, serve, users)
        finally:
            self._clear(stage)

    async def _tell(self, stage: Stage, serve: bool, users: int) -> int:
        async with stage.set_up():
            _say(f"Its page is at {stage.url}\n")
            figures = await self._play(Story(stage, self._album), users)
            _say(f"\n{self._keep(figures)}")
            if serve:
                _say(f"The page stays up at {stage.url} until you press Ctrl-C.")
                await _until_told()
        return EXIT_WRONG if figures.problems() else EXIT_OK

    async def _play(self, story: Story, users: int) -> Figures:
        each = self._uploads_each(users)
        few = max(users // 2, 1)
        some = f"{users * each} uploads by {users} users"
        python = platform.python_version()
        return Figures(
            machine=f"{os.cpu_count()} cores, {WORKERS} workers, Python {python}",
            megapixels=self._album.megapixels,
            inline=await _timed(
                f"{some}, thumbnails made in the request", story.in_the_request(users, each)
            ),
            queued=await _timed(
                f"{some}, thumbnails made through the queue", story.through_the_queue(users, each)
            ),
            kill=await _timed(
                f"{few * 2} uploads, and a worker killed meanwhile", story.kill_a_worker(few, 2)
            ),
            repair=await _timed("a corrupt photograph", story.repair_a_photograph()),
        )

    def _clear(self, stage: Stage) -> None:
        """Delete the pictures, hundreds of megabytes; data, logs and report are kept."""
        pictures = (stage.library.originals, stage.library.thumbnails, stage.home / _CAMERA)
        for folder in pictures:
            shutil.rmtree(folder, ignore_errors=True)

    def _uploads_each(self, users: int) -> int:
        """As many as this machine can do in good time; one at least."""
        busy = users * self._album.effort // (os.cpu_count() or 1)
        return max(min(_AT_MOST_BUSY // max(busy, 1), _MOST_EACH), 1)

    def _keep(self, figures: Figures) -> str:
        """Write the report to files; returns its text, and where the files are."""
        text = report.text(figures)
        files = {name: self._output / f"report.{name}" for name in ("txt", "json", "png")}
        files["txt"].write_text(text)
        files["json"].write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        picture.draw(figures).save(files["png"])
        return f"{text}\nAll of it as a picture: {files['png']}"


def _say(line: str, end: str = "\n") -> None:
    sys.stdout.write(line + end)
    sys.stdout.flush()


def _complain(error: str) -> None:
    sys.stderr.write(f"backline demo: {error}\n")


async def _timed(what: str, act: Awaitable[T]) -> T:
    _say(f"  {what} ... ", end="")
    start = SYSTEM_CLOCK.tick()
    figures = await act
    _say(report.seconds(SYSTEM_CLOCK.tick() - start))
    return figures


async def _until_told() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    await told.wait()
