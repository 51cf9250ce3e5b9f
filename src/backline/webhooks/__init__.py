"""Webhooks: the outcome of a job, posted to a URL by the Standard Webhooks scheme."""

from backline.webhooks.addresses import check_url, is_public
from backline.webhooks.delivery import TASK, Webhooks
from backline.webhooks.settings import SECRET_ENV, WebhookSettings
from backline.webhooks.signing import signature, signing_keys

__all__ = [
    "SECRET_ENV",
    "TASK",
    "WebhookSettings",
    "Webhooks",
    "check_url",
    "is_public",
    "signature",
    "signing_keys",
]
