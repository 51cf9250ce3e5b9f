"""The request itself, to servers of this machine: the checked address, and no other."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from backline.webhooks import WebhookSettings, check_url
from backline.webhooks.client import post, resolve
from backline.webhooks.reply import Reply, WebhookFailed, WebhookRefused
from backline.webhooks.settings import networks

HEADERS = {"webhook-id": "7", "content-type": "application/json"}
LOOPBACK = networks(["127.0.0.1/32"])


class Server:
    """Keeps each request as it came, and answers with what it is told."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        self.hangs = False
        self.port = 0
        self.names: list[str | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            if self.hangs:
                await reader.read()
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @property
    def settings(self) -> WebhookSettings:
        return WebhookSettings(allow_http=True, ports=(self.port,), allow_networks=LOOPBACK)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


def answers(*rounds: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver that answers differently each time; the last answer stays."""
    left = list(rounds)

    async def look_up(host: str, port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return look_up


async def send(
    server: Server, settings: WebhookSettings, look_up: Callable[[str, int], Awaitable[list[str]]]
) -> Reply:
    target = check_url(f"http://hooks.example:{server.port}/in?x=1", settings)
    return await post(target, HEADERS, b'{"a":1}', settings, look_up)


async def test_it_connects_to_the_address_that_was_checked(server: Server) -> None:
    assert await send(server, server.settings, answers(["127.0.0.1"])) == Reply(204)
    [request] = server.requests
    assert request.startswith(b"POST /in?x=1 HTTP/1.1\r\n")
    assert f"host: hooks.example:{server.port}\r\n".encode() in request.lower()
    assert b"webhook-id: 7\r\n" in request
    assert request.endswith(b'\r\n\r\n{"a":1}')


async def test_no_packet_goes_to_an_address_that_is_not_public(server: Server) -> None:
    strict = replace(server.settings, allow_networks=())
    for found in (["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], []):
        with pytest.raises(WebhookRefused, match="nothing was sent"):
            await send(server, strict, answers(found))
    assert not server.connections


async def test_a_name_that_turns_is_looked_up_once(server: Server) -> None:
    looked: list[str] = []
    turning = answers(["127.0.0.1"], ["10.0.0.1"])

    async def look_up(host: str, port: int) -> list[str]:
        looked.append(host)
        return await turning(host, port)

    await send(server, server.settings, look_up)
    assert looked == ["hooks.example"]
    with pytest.raises(WebhookRefused, match=r"10\.0\.0\.1"):
        await send(server, server.settings, look_up)


async def test_the_next_address_is_tried(server: Server) -> None:
    both = replace(server.settings, allow_networks=networks(["127.0.0.0/8"]))
    assert await send(server, both, answers(["127.9.9.9", "127.0.0.1"])) == Reply(204)


async def test_redirects_are_not_followed_and_proxies_not_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    )
    assert await send(server, server.settings, answers(["127.0.0.1"])) == Reply(302)
    assert server.connections == 1


async def test_of_the_answer_only_the_head_is_read(server: Server) -> None:
    server.answer = (
        b"HTTP/1.1 429 Too Many\r\nRetry-After: 30\r\nContent-Length: 99999999999\r\n\r\n"
    )
    assert await send(server, server.settings, answers(["127.0.0.1"])) == Reply(429, "30")


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n"],
)
async def test_nonsense_is_a_failure(server: Server, answer: bytes) -> None:
    server.answer = answer
    with pytest.raises(WebhookFailed, match=r"hooks\.example"):
        await send(server, server.settings, answers(["127.0.0.1"]))


async def test_an_endpoint_that_hangs_is_a_failure(server: Server) -> None:
    server.hangs = True
    with pytest.raises(WebhookFailed, match="within"):
        await send(server, replace(server.settings, timeout=100_000), answers(["127.0.0.1"]))


async def test_nobody_there_and_no_such_name_are_failures(server: Server) -> None:
    async def no_name(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server.port = closed.getsockname()[1]
        for look_up in (no_name, answers(["127.0.0.1"])):
            with pytest.raises(WebhookFailed, match=r"hooks\.example"):
                await send(server, server.settings, look_up)


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "017700000001", "127.0.0.1"])
async def test_the_system_turns_odd_forms_into_addresses_which_are_checked(host: str) -> None:
    assert await resolve(host, 443) == ["127.0.0.1"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for hooks.example, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=hooks.example",
            "-addext", "subjectAltName=DNS:hooks.example",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both


async def test_tls_is_for_the_name_though_the_address_is_connected_to(certificate: Path) -> None:
    server = Server()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificate)
    ours.sni_callback = lambda _socket, name, _context: server.names.append(name)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=ours)
    server.port = listening.sockets[0].getsockname()[1]
    theirs = ssl.create_default_context(cafile=str(certificate))
    look_up = answers(["127.0.0.1"])
    async with listening:
        good = check_url(f"https://hooks.example:{server.port}/", server.settings)
        assert await post(good, HEADERS, b"{}", server.settings, look_up, theirs) == Reply(204)
        other = check_url(f"https://other.example:{server.port}/", server.settings)
        with pytest.raises(WebhookFailed, match="certificate"):
            await post(other, HEADERS, b"{}", server.settings, look_up, theirs)
        with pytest.raises(WebhookFailed, match="certificate"):  # nobody vouches for it
            await post(good, HEADERS, b"{}", server.settings, look_up)
    assert server.names[:2] == ["hooks.example", "other.example"]
    assert len(server.requests) == 1
