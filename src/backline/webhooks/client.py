"""One POST to a checked address: no proxy, no redirect, no second look-up of the name."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, TypeAlias, cast

import httpcore2

from backline.job import SECOND
from backline.webhooks.addresses import Target, check_addresses
from backline.webhooks.reply import Reply, WebhookFailed, WebhookRefused
from backline.webhooks.settings import WebhookSettings

Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host."""

_NETWORK: Final = (
    httpcore2.NetworkError,
    httpcore2.TimeoutException,
    httpcore2.ProtocolError,
    OSError,
)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, by the system."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def post(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    settings: WebhookSettings,
    look_up: Resolve = resolve,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """Send the request once; of the answer only its status and headers are read.

    Raises WebhookRefused if an address of the host is not public, WebhookFailed.
    """
    door = _Door(settings, look_up)
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=tls or ssl.create_default_context(), network_backend=door
    )
    try:
        async with (
            asyncio.timeout(settings.timeout / SECOND),
            pool,
            pool.stream("POST", target.url, headers=list(headers.items()), content=body) as answer,
        ):
            lowered = {name.lower(): value for name, value in answer.headers}
            after = lowered.get(b"retry-after")
            text = None if after is None else after.decode("latin-1")
            return Reply(answer.status, text)
    except TimeoutError:
        seconds = settings.timeout / SECOND
        raise WebhookFailed(f"{target.host} did not answer within {seconds:g} s") from None
    except _NETWORK as error:
        raise WebhookFailed(f"{target.host} was not reached: {error!r}") from None


class _Door(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, and connects to an address that was checked, to no other."""

    def __init__(self, settings: WebhookSettings, look_up: Resolve) -> None:
        self._settings = settings
        self._look_up = look_up
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        found = await self._look_up(host, port)
        try:
            addresses = check_addresses(host, found, self._settings.allow_networks)
        except ValueError as error:
            raise WebhookRefused(f"nothing was sent: {error}") from None
        failed: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout)
            except _NETWORK as error:
                failed = error
        assert failed is not None
        raise failed

    async def connect_unix_socket(self, *args: object, **options: object) -> NoReturn:
        raise WebhookRefused("a webhook goes to no socket of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
