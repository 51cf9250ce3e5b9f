"""The load generator, against a server of a few lines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from backline.demo.load import Browser, Crowd, Form, Plan


class Server:
    """Answers each request with what `answer` says of its head; None: hangs up, "": is mute."""

    def __init__(self, answer: Callable[[str], str | None]) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.port = 0
        self._answer = answer
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._start, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield
        await asyncio.gather(*self._serving)

    async def _start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                self.requests.append((head, await reader.readexactly(length)))
                answer = self._answer(head)
                if answer is None:
                    return
                writer.write(answer.encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def status(code: int, body: str = "") -> str:
    return f"HTTP/1.1 {code} Whatever\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def plan(port: int, photo: Path, *, patience_s: float = 10.0) -> Plan:
    users = ["ann", "bob", "eve"]
    return Plan(
        port=port,
        path="/photos",
        photos=[str(photo)],
        users=users,
        uploads_each=2,
        patience_s=patience_s,
    )


async def test_each_user_uploads_in_turn_on_one_connection(photo: Path) -> None:
    picture = photo.read_bytes()  # noqa: ASYNC240
    server = Server(lambda head: status(202, "taken") if "POST" in head else status(200))
    async with server.running():
        outcome = await Crowd(plan(server.port, photo)).run()

    assert [sample.status for sample in outcome.uploads] == [202] * 6
    assert all(sample.ok and sample.took > 0 for sample in outcome.uploads)
    posts = [(head, body) for head, body in server.requests if head.startswith("POST /photos ")]
    assert len(posts) == 6
    for owner in ("ann", "bob", "eve"):
        assert sum(f"\r\n\r\n{owner}\r\n".encode() in body for _, body in posts) == 2
    assert all(picture in body for _, body in posts)
    assert any(head.startswith("GET /users/ann ") for head, _ in server.requests)
    assert outcome.look_ups
    assert server.connections == 3 + 2  # the users and the readers of profiles


async def test_an_error_is_a_sample_that_is_not_ok(photo: Path) -> None:
    server = Server(lambda head: status(429))
    async with server.running():
        outcome = await Crowd(plan(server.port, photo)).run()
    assert [(sample.status, sample.ok) for sample in outcome.uploads] == [(429, False)] * 6


async def test_a_broken_connection_is_a_sample_and_the_next_request_opens_another(
    photo: Path,
) -> None:
    server = Server(lambda head: None)
    async with server.running():
        outcome = await Crowd(plan(server.port, photo)).run()
    assert [(sample.status, sample.error) for sample in outcome.uploads] == [
        (0, "IncompleteReadError")
    ] * 6
    assert server.connections >= 6


async def test_patience_ends(photo: Path) -> None:
    server = Server(lambda head: "")
    async with server.running():
        outcome = await Crowd(plan(server.port, photo, patience_s=0.01)).run()
    assert {sample.error for sample in outcome.uploads} == {"no answer within 0.01 s"}
    assert all(sample.took >= 10_000 for sample in outcome.uploads)


async def test_nobody_there_is_a_sample(photo: Path) -> None:
    server = Server(lambda head: status(200))
    async with server.running():
        pass
    outcome = await Crowd(plan(server.port, photo)).run()
    assert {sample.error for sample in outcome.uploads} == {"ConnectionRefusedError"}


async def test_the_browser_reads_answers_to_their_last_byte() -> None:
    server = Server(lambda head: status(200, "x" * 100_000))
    async with server.running(), Browser(server.port) as browser:
        assert [await browser.request("GET / HTTP/1.1") for _ in range(3)] == [200] * 3
    assert server.connections == 1


def test_a_form_is_what_a_browser_sends() -> None:
    form = Form("a.jpg", b"\xff\xd8 data", "ann")
    mark = form.content_type.removeprefix("multipart/form-data; boundary=")
    parts = form.body.split(f"--{mark}".encode())
    assert parts[0] == b""
    assert b'name="owner"' in parts[1]
    assert parts[1].endswith(b"\r\n\r\nann\r\n")
    assert b'filename="a.jpg"' in parts[2]
    assert parts[2].endswith(b"\r\n\r\n\xff\xd8 data\r\n")
    assert parts[3] == b"--\r\n"
