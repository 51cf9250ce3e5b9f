"""Users who upload photographs, all at once: the load generator.

It runs in a process of its own, so that it takes nothing from the event loop it measures.
Each user keeps one connection and sends the next upload when the last one is answered (a
closed loop). Meanwhile a few readers look profiles up, a request every few milliseconds.
Times are taken here, from before the first byte is sent until the last byte of the answer
is read.
"""

import asyncio
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from backline.clock import SYSTEM_CLOCK
from backline.job import Micros

READERS: Final = 2
READER_PAUSE_S: Final = 0.02


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the users are to do."""

    port: int
    path: str
    """Where they send their photographs to."""
    photos: list[str]
    """The files they send, in turn."""
    users: list[str]
    uploads_each: int
    patience_s: float
    """How long a user waits for an answer before giving up."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One request as its sender saw it. Times are microseconds since the load began."""

    start: Micros
    took: Micros
    status: int
    """The answer's status; 0 if none came."""
    error: str = ""
    """Why none came."""

    @property
    def ok(self) -> bool:
        """It was answered, and not with an error."""
        return 200 <= self.status < 400


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the users saw."""

    began_at: Micros
    """Wall time of the first request."""
    uploads: list[Sample]
    look_ups: list[Sample]


class Browser:
    """An HTTP/1.1 client with one connection, kept alive: as much as the load needs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, head: str, body: bytes = b"") -> int:
        """Send a request and return the status of its answer, read to the last byte.

        Raises OSError or EOFError if the connection breaks; the next request opens another.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        length = f"host: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(f"{head}\r\n{length}".encode() + body)
        await writer.drain()
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(field.lower().split(": ", 1) for field in fields if field)
        await reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split(" ", 2)[1])

    async def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._streams is not None:
            (_, writer), self._streams = self._streams, None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Form:
    """A photograph and its owner as a browser's form sends them."""

    def __init__(self, name: str, photo: bytes, owner: str) -> None:
        mark = secrets.token_hex(16)
        part = f"--{mark}\r\ncontent-disposition: form-data; name="
        file = f'{part}"photo"; filename="{name}"\r\ncontent-type: image/jpeg\r\n\r\n'
        self.content_type = f"multipart/form-data; boundary={mark}"
        self.body = b"".join(
            (
                f'{part}"owner"\r\n\r\n{owner}\r\n{file}'.encode(),
                photo,
                f"\r\n--{mark}--\r\n".encode(),
            )
        )


class Crowd:
    """Carries out a `Plan`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._photos = [(Path(photo).name, Path(photo).read_bytes()) for photo in plan.photos]
        self._tick = 0
        self._uploads: list[Sample] = []
        self._look_ups: list[Sample] = []

    async def run(self) -> Outcome:
        """Let all users loose at the same moment; return when the last one is done."""
        plan = self._plan
        self._tick, began_at = SYSTEM_CLOCK.tick(), SYSTEM_CLOCK.now()
        readers = [asyncio.create_task(self._read(number)) for number in range(READERS)]
        async with asyncio.TaskGroup() as group:
            for place, user in enumerate(plan.users):
                group.create_task(self._upload(user, place))
        for reader in readers:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        return Outcome(began_at=began_at, uploads=self._uploads, look_ups=self._look_ups)

    async def _upload(self, user: str, place: int) -> None:
        plan = self._plan
        async with Browser(plan.port) as browser:
            for turn in range(place, place + plan.uploads_each):
                form = Form(*self._photos[turn % len(self._photos)], user)
                head = f"POST {plan.path} HTTP/1.1\r\ncontent-type: {form.content_type}"
                await self._timed(self._uploads, browser, head, form.body)

    async def _read(self, number: int) -> None:
        async with Browser(self._plan.port) as browser:
            while True:
                user = self._plan.users[number % len(self._plan.users)]
                await self._timed(self._look_ups, browser, f"GET /users/{user} HTTP/1.1")
                number += READERS
                await asyncio.sleep(READER_PAUSE_S)

    async def _timed(
        self, samples: list[Sample], browser: Browser, head: str, body: bytes = b""
    ) -> None:
        start, status, error = SYSTEM_CLOCK.tick(), 0, ""
        try:
            async with asyncio.timeout(self._plan.patience_s):
                status = await browser.request(head, body)
        except TimeoutError:
            error = f"no answer within {self._plan.patience_s:g} s"
        except (OSError, EOFError) as failure:
            error = type(failure).__name__
        if not status:
            await browser.close()
        took = SYSTEM_CLOCK.tick() - start
        samples.append(Sample(start - self._tick, took, status, error))
