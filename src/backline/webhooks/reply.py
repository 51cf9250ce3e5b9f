"""What comes of a POST, for those who decide what to make of it."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from backline.webhooks.addresses import Target
from backline.webhooks.settings import WebhookSettings


class WebhookRefused(Exception):
    """The webhook may not go there, or the endpoint wants no more: not tried again."""


class WebhookFailed(Exception):
    """The endpoint was not reached, or did not answer: worth another attempt."""


class Reply(NamedTuple):
    """What an endpoint said, as far as anybody reads it."""

    status: int
    retry_after: str | None = None


class Post(Protocol):
    """Sends one request."""

    async def __call__(
        self, target: Target, headers: Mapping[str, str], body: bytes, settings: WebhookSettings
    ) -> Reply:
        """Raises WebhookRefused, WebhookFailed."""
        ...
