"""What is known of earlier enqueues, as the model has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backline.job import IDEMPOTENCY, Enqueued, JobId, JobRequest, Micros
from backline.testing.kept import Kept, asked


@dataclass
class KnownModel:
    """Ids and idempotency keys. `jobs` has every job there ever was."""

    jobs: Mapping[JobId, Kept]
    given: dict[str, tuple[JobId, bytes, Micros]] = field(default_factory=dict)
    """What idempotency keys stand for: the job that was answered, what was asked, until when."""

    def repeat(self, request: JobRequest, now: Micros) -> Enqueued | None:
        """The answer for what was settled before."""
        if request.id in self.jobs:
            return Enqueued(request.id)
        job, before, until = self.given.get(request.idempotency_key or "", ("", b"", 0))
        return Enqueued(job, False, mismatch=before != asked(request)) if until > now else None

    def is_new(self, request: JobRequest, now: Micros) -> bool:
        """It was not settled before."""
        return self.repeat(request, now) is None

    def remember(self, request: JobRequest, answer: Enqueued, now: Micros) -> None:
        """Repeats of this request have this answer."""
        if request.idempotency_key is not None and not answer.conflict:
            self.given[request.idempotency_key] = (answer.id, asked(request), now + IDEMPOTENCY)
