"""What a declaration of a queue changes: pure, and the same in every store."""

from typing import Final

import msgspec
from msgspec import UNSET

from backline.store import QueueSettings

_FIELDS: Final = ("max_depth", "paused", "concurrency", "pacing", "weights", "ageing")


def declare(
    settings: QueueSettings, last: QueueSettings | None
) -> tuple[QueueSettings, QueueSettings]:
    """What of `settings` is to be applied, and all that was declared of the queue so far.

    Field by field: a declaration that says nothing of a limit leaves alone what an operator
    made of it, also if another declaration speaks of it.
    """
    before = last or QueueSettings(queue=settings.queue)
    said = {name: value for name in _FIELDS if (value := getattr(settings, name)) is not UNSET}
    news = {name: value for name, value in said.items() if value != getattr(before, name)}
    return QueueSettings(queue=settings.queue, **news), msgspec.structs.replace(before, **said)
