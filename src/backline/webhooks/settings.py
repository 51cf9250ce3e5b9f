"""How an app's webhooks are signed, and where they may go: checked, plain data."""

import os
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, TypeAlias

import msgspec

from backline.display import shown
from backline.duration import micros
from backline.errors import ConfigError
from backline.job import SECOND, Micros
from backline.webhooks.signing import signing_keys

SECRET_ENV: Final = "BACKLINE_WEBHOOK_SECRET"  # noqa: S105 - where it is, not what it is
"""The environment variable that holds the secrets, unless the app names another."""
NO_SECRET: Final = "webhooks cannot be signed by the environment variable"  # noqa: S105 - no secret
"""How the complaint begins of a process that has none."""
QUEUE: Final = "webhooks"
PORTS: Final = (443, 8443)
OPTIONS: Final = ("secret_env", "queue", "timeout", "ports", "allow_http", "allow_networks")
"""What `App.webhooks` takes."""
Network: TypeAlias = IPv4Network | IPv6Network


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """No secret is in here: they are read from the environment for each delivery."""

    secret_env: str = SECRET_ENV
    queue: str = QUEUE
    timeout: Micros = 20 * SECOND
    """Of one attempt, from the look-up of the name to the status of the answer."""
    ports: tuple[int, ...] = PORTS
    allow_http: bool = False
    allow_networks: tuple[Network, ...] = ()
    """Addresses that are not public, and may be posted to all the same."""

    def keys(self) -> list[bytes]:
        """The keys to sign with, in the order given. Raises ConfigError, showing none."""
        text = os.environ.get(self.secret_env, "")
        try:
            return signing_keys(text)
        except ValueError as error:
            raise ConfigError(
                f"{NO_SECRET} {self.secret_env}: {error}; whsec_ and the base64 of 24 to 64 "
                "random bytes is one"
            ) from None


def networks(given: Sequence[str]) -> tuple[Network, ...]:
    """The networks of `allow_networks=`. Raises ConfigError."""
    if isinstance(given, str):
        raise ConfigError(f"allow_networks= of app.webhooks: a list is wanted, not {shown(given)}")
    try:
        return tuple(ip_network(each) for each in given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"allow_networks= of app.webhooks: {error}") from None


def port_numbers(given: Sequence[int]) -> tuple[int, ...]:
    """The ports of `ports=`. Raises ConfigError."""
    if not isinstance(given, str):
        found = tuple(given)
        if all(type(port) is int and 0 < port < 65_536 for port in found) and found:
            return found
    raise ConfigError(f"ports= of app.webhooks: ports from 1 to 65535, not {shown(given)}")


def patience(given: object) -> Micros:
    """The limit of `timeout=`. Raises ConfigError."""
    try:
        found = micros(given)  # type: ignore[arg-type]
        if not SECOND <= found <= 60 * SECOND:
            raise ValueError("1 to 60 seconds are possible")  # noqa: TRY301
    except (TypeError, ValueError) as error:
        raise ConfigError(f"timeout= of app.webhooks: {error}") from None
    return found
