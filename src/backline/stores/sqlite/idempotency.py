"""Idempotency keys: what each stands for."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from backline.job import IDEMPOTENCY, Enqueued, JobId, JobRequest
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction, dumps

_GIVEN: Final = statement("idempotency")
_REMEMBER: Final = statement("remember_idempotency")

_given: Final = msgspec.json.Decoder(list[tuple[str, str, str]])


def answers(tx: Transaction, jobs: Sequence[JobRequest]) -> dict[JobId, Enqueued]:
    """The answers for those jobs whose idempotency keys were given before, by their ids."""
    keyed = {job.idempotency_key: job for job in jobs if job.idempotency_key is not None}
    if not keyed:
        return {}
    params = {"names": dumps(list(keyed)), "now": tx.now}
    found: dict[JobId, Enqueued] = {}
    for name, answered, fingerprint in _given.decode(tx.db.text(_GIVEN, params)):
        if (job := keyed.get(name)) is not None:
            mismatch = fingerprint != job.fingerprint
            found[job.id] = Enqueued(answered, added=False, mismatch=mismatch)
    return found


def remember(
    tx: Transaction, jobs: Sequence[JobRequest], refused: Mapping[JobId, Enqueued]
) -> None:
    """From now on the keys of these jobs stand for their answers; `refused` has those of the
    jobs that are not to be added.
    """
    keys: list[tuple[str, JobId, str]] = []
    for job in jobs:
        answer = refused.get(job.id)
        if job.idempotency_key is not None and not (answer and answer.conflict):
            answered = answer.id if answer else job.id
            keys.append((job.idempotency_key, answered, job.fingerprint))
    if keys:
        tx.db.run(_REMEMBER, {"keys": dumps(keys), "until": tx.now + IDEMPOTENCY})
