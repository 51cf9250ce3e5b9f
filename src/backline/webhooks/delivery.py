"""What a webhook says, when it is sent again, and the task that sends it."""

import random
from datetime import UTC
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from backline._version import __version__
from backline.clock import Clock
from backline.context import JobContext
from backline.display import clipped
from backline.errors import ConfigError, RetryLater
from backline.follow_up import Outcome
from backline.job import DAY, HOUR, MINUTE, SECOND, Backoff, JobRequest, Micros, Terms
from backline.webhooks.addresses import check_url
from backline.webhooks.reply import Post, WebhookFailed, WebhookRefused
from backline.webhooks.settings import WebhookSettings
from backline.webhooks.signing import signature

TASK: Final = "backline.webhook"
SCHEDULE: Final[tuple[Micros, ...]] = (
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""The waits between attempts that Standard Webhooks proposes; the first is at once."""
JITTER: Final = 0.2
"""A wait is longer by up to this part of it, so that what failed together comes back apart."""
LONGEST_WAIT: Final[Micros] = DAY
"""More an endpoint's Retry-After does not get."""
MAX_BODY: Final = 20_000
"""Bytes; a receiver may refuse more."""
MOST_SAID: Final = 2_000
"""Characters of an error's message that are sent if all of it is too much."""
_GONE: Final = 410
_TERMS: Final = Terms(
    max_attempts=len(SCHEDULE) + 1,
    timeout=2 * MINUTE,
    backoff=Backoff(delays=SCHEDULE),
)


class Webhooks:
    """The webhooks of an app: the job of one, and the function that its task runs."""

    def __init__(self, settings: WebhookSettings, clock: Clock, post: Post | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._post = post

    def job(self, url: str) -> JobRequest:
        """What posts an outcome to this URL. Raises ConfigError for one that it may not."""
        try:
            check_url(url, self.settings)
        except ValueError as error:
            raise ConfigError(f"callback_url: {error}") from None
        payload = Raw(msgspec.json.encode(((), {"url": url})))
        return JobRequest(
            id="", task=TASK, payload=payload, queue=self.settings.queue, terms=_TERMS
        )

    async def deliver(self, job: JobContext, outcome: Outcome[Any], url: str) -> int:
        """Post the outcome; returns the status, one of success.

        Raises WebhookRefused for good, RetryLater for what may pass.
        """
        try:
            target = check_url(url, self.settings)
        except ValueError as error:
            raise WebhookRefused(f"nothing was sent: {error}") from None
        try:
            keys = self.settings.keys()
            now = self._clock.now() // SECOND
            content = body(outcome)
            headers = {
                "content-type": "application/json",
                "user-agent": f"backline/{__version__}",
                "webhook-id": job.id,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(keys, job.id, now, content),
            }
            reply = await self._poster()(target, headers, content, self.settings)
        except (WebhookFailed, ConfigError) as error:
            raise RetryLater(self._wait(job, None) / SECOND, str(error)) from None
        if 200 <= reply.status < 300:
            return reply.status
        said = f"{target.host} answered {reply.status}"
        if reply.status == _GONE:
            raise WebhookRefused(f"{said} Gone: it wants no more webhooks; disable its URL")
        if 300 <= reply.status < 400:
            said += ", and redirects are not followed"
        raise RetryLater(self._wait(job, reply.retry_after) / SECOND, said)

    def _poster(self) -> Post:
        """The HTTP client, which only who delivers needs."""
        if self._post is None:
            try:
                module = import_module("backline.webhooks.client")
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"webhooks need {error.name}: pip install 'backline[webhooks]'"
                ) from None
            self._post = cast("Post", module.post)
        return self._post

    def _wait(self, job: JobContext, retry_after: str | None) -> Micros:
        return wait(job.failures, retry_after, self._clock.now(), self._clock.rng)


def body(outcome: Outcome[Any]) -> bytes:
    """What is posted: at most `MAX_BODY` bytes of JSON, the same in each attempt.

    A result that is too large is left out, and `result_omitted` says so.
    """
    error = outcome.error
    data: dict[str, Any] = {
        "id": outcome.id,
        "task": outcome.task,
        "queue": outcome.queue,
        "state": outcome.state,
        "attempts": outcome.attempts,
        "enqueued_at": outcome.enqueued_at,
        "finished_at": outcome.finished_at,
        "tags": outcome.tags,
    }
    if outcome.succeeded:
        data["result"] = outcome.result
    if error is not None:
        data["error"] = {"kind": error.kind, "message": error.message}
    message = {"type": f"job.{outcome.state}", "timestamp": outcome.finished_at, "data": data}
    content = msgspec.json.encode(message)
    if len(content) > MAX_BODY:
        if data.pop("result", None) is not None:
            data["result_omitted"] = True
        if error is not None:
            data["error"] = {
                "kind": clipped(error.kind, MOST_SAID),
                "message": clipped(error.message, MOST_SAID),
            }
        content = msgspec.json.encode(message)
    return content


def wait(failures: int, retry_after: str | None, now: Micros, rng: random.Random) -> Micros:
    """How long before the next attempt, after so many that failed before this one.

    As the schedule has it, or longer if the endpoint asked for that, within `LONGEST_WAIT`.
    """
    planned = SCHEDULE[min(failures, len(SCHEDULE) - 1)]
    asked = min(LONGEST_WAIT, retry_delay(retry_after, now))
    return max(planned, asked) + round(planned * rng.uniform(0, JITTER))


def retry_delay(text: str | None, now: Micros) -> Micros:
    """What a Retry-After asks for, in seconds or as a date; 0 for none and for nonsense."""
    if text is None:
        return 0
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 12:
        return int(text) * SECOND
    try:
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return max(0, round(at.timestamp() * SECOND) - now)
    except (TypeError, ValueError, OverflowError, IndexError):
        return 0
