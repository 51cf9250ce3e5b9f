"""What an event is to a task that waited for it."""

from typing import Any, get_origin

from msgspec import Raw, json

from backline.codec import ResultCodec
from backline.errors import InvalidResult, WaitTimeout
from backline.fanout import Event
from backline.job import Awaited, StepRecord, as_datetime


class Payload:
    """Payloads of the type `kind`, or whole events if that is an `Event`.

    Raises InvalidResult for a type that cannot travel as JSON; `what` names the event in errors.
    """

    def __init__(self, kind: Any, what: str) -> None:
        self._whole = kind is Event or get_origin(kind) is Event
        try:
            self._codec = ResultCodec(Event[Any] if kind is Event else kind, what)
        except Exception as error:
            raise InvalidResult(f"{what}: {error}") from error

    def of(self, record: StepRecord, awaited: Awaited) -> Any:
        """What ended a wait. Raises WaitTimeout if nothing did; InvalidResult."""
        if record.event_id is None:
            raise WaitTimeout(awaited.name, awaited.key)
        if not self._whole:
            return self._codec.decode(record.value)
        told = Event(
            id=record.event_id,
            name=awaited.name,
            payload=Raw(b"null") if record.value is None else record.value,
            published_at=as_datetime(record.event_at or 0),
            key=awaited.key,
        )
        return self._codec.decode(json.encode(told))
