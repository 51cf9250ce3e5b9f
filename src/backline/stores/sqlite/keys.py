"""Unique keys: who holds one, and who waits for its turn to."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from backline.job import FARTHEST, Enqueued, JobId, JobRequest, Micros, OnConflict
from backline.states import QUEUED, State
from backline.stores.sqlite import rows, waiting
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import FOLLOWED, KEYED
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps, seqs_of

_KEYS: Final = statement("keys")
_KEYS_OF: Final = statement("keys_of")
_TAKE: Final = statement("take_keys")
_SUCCESSIONS: Final = statement("successions")
_REVERSIONS: Final = statement("reversions")
_SUCCEED: Final = statement("succeed_key")
_ORPHAN: Final = statement("orphan_keys")
_TERMS: Final = statement("terms")
_END: Final = statement("end")


class KeyRow(msgspec.Struct, array_like=True, gc=False):
    """A unique key and its holder."""

    name: str
    holder: JobId
    seq: int
    """0: the holder is purged."""
    queue: int
    lane: str
    state: State
    predecessor: int
    """The row of the job that the holder waits for; 0: none."""
    taken: bool
    started: bool
    """The holder is running, or was."""
    since: int
    """What `max_wait` counts from; no `Micros`: a damaged one must not stop the others."""
    ties: int


class Succession(msgspec.Struct, array_like=True, gc=False):
    """A unique key whose holder waits for the end of another job."""

    name: str
    holder: JobId
    seq: int
    until: int
    """No `Micros`, like the others: a damaged one must not stop those who ask for the key."""


class Taking(NamedTuple):
    """A job that is to hold a key from now on."""

    name: str
    holder: JobId
    until: Micros
    predecessor: int | None
    since: Micros


class Placed(NamedTuple):
    """What the keys of new jobs say of them."""

    refused: dict[JobId, Enqueued]
    """The answers for jobs that are not to be added."""
    waiting: set[JobId]
    due: dict[JobId, Micros]
    """Of those that may not wait for longer than `max_wait`."""
    taking: list[Taking]
    fresh: list[JobPlace]
    """To be cancelled, since others take their keys: those that never started."""
    tried: list[JobPlace]
    """The same: those that did."""


_key_rows: Final = msgspec.json.Decoder(list[KeyRow])
_successions: Final = msgspec.json.Decoder(list[Succession])
_reversions: Final = msgspec.json.Decoder(list[tuple[str, JobId, int]])
_keys_of: Final = msgspec.json.Decoder(list[tuple[str, JobId, int]])


def place(tx: Transaction, jobs: Sequence[JobRequest]) -> Placed:
    """Decide on new jobs with unique keys, no two alike."""
    names = [job.unique_key for job in jobs if job.unique_key is not None]
    known = _read(tx, names)
    placed = Placed({}, set(), {}, [], [], [])
    for job in jobs:
        assert job.unique_key is not None
        row = known.get(job.unique_key)
        predecessor, since = 0, tx.now
        if row is not None and row.taken:
            if job.on_conflict is not OnConflict.REPLACE:
                conflict = job.on_conflict is OnConflict.RAISE
                placed.refused[job.id] = Enqueued(row.holder, added=False, conflict=conflict)
                continue
            predecessor = row.predecessor
            if row.state is State.RUNNING:
                predecessor = row.seq
            elif row.state in QUEUED:
                replaced = placed.tried if row.started else placed.fresh
                replaced.append(JobPlace(row.seq, row.queue, row.lane, row.state, row.ties))
                since = tx.now if row.started else min(row.since, tx.now)
        if predecessor:
            placed.waiting.add(job.id)
        if job.max_wait is not None:
            placed.due[job.id] = job.due(tx.now, since)
        until = window_end(job, tx.now)
        placed.taking.append(Taking(job.unique_key, job.id, until, predecessor or None, since))
    return placed


def window_end(job: JobRequest, now: Micros) -> Micros:
    """Until when the key of a new job stays taken at least; 0: its end frees the key,
    wherever the wall clock stands by then.
    """
    return now + job.unique_for if job.unique_for else 0


def take(tx: Transaction, taking: Sequence[Taking]) -> None:
    """Let jobs hold their keys, in the place of whoever did."""
    if taking:
        tx.db.run(_TAKE, {"keys": dumps(taking)})


def end(
    tx: Transaction, places: Collection[JobPlace], state: State, most: Micros = FARTHEST
) -> None:
    """End jobs that are not running, their keys aside; they stay readable for `most` at most."""
    if not places:
        return
    found = tx.db.rows(_TERMS, {"seqs": seqs_of(places)})
    keeps = [(seq, rows.terms_of(terms).keep_for(state)) for seq, terms in found]
    ends = [(seq, tx.now + min(keep, most)) for seq, keep in keeps]
    tx.db.run(_END, {"ends": dumps(ends), "state": state, "now": tx.now})
    tx.moved_all(places, state)
    tx.followed += [place.seq for place in places if place.ties & FOLLOWED]


def succeed(tx: Transaction, seqs: Sequence[int]) -> None:
    """These jobs have ended: who waited for that, to hold their keys, may go on."""
    found = _successions.decode(tx.db.text(_SUCCESSIONS, {"seqs": dumps(seqs)}))
    for key in found:
        _settle(tx, key.name, key.holder, key.until)
    if found:
        waiting.go_on(tx, [key.seq for key in found])


def revert(tx: Transaction, seqs: Sequence[int]) -> None:
    """These jobs, which waited for another's end, have ended: their keys are its own again."""
    if seqs:
        for name, holder, until in _reversions.decode(
            tx.db.text(_REVERSIONS, {"seqs": dumps(seqs)})
        ):
            _settle(tx, name, holder, until)


def orphan(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """These jobs are about to be purged: their keys last until their time only."""
    keyed = [place for place in places if place.ties & KEYED]
    if keyed:
        tx.db.run(_ORPHAN, {"seqs": seqs_of(keyed)})


def take_back(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """These jobs live again: each holds its key if nobody else does."""
    seqs = [place.seq for place in places if place.ties & KEYED]
    if not seqs:
        return
    own = _keys_of.decode(tx.db.text(_KEYS_OF, {"seqs": dumps(seqs)}))
    known = _read(tx, [name for name, _, _ in own])
    taking: dict[str, Taking] = {}
    for name, job_id, until in own:
        row = known.get(name)
        if name not in taking and (row is None or not row.taken or row.holder == job_id):
            taking[name] = Taking(name, job_id, until, None, tx.now)
    take(tx, list(taking.values()))


def _read(tx: Transaction, names: Sequence[str]) -> dict[str, KeyRow]:
    params = {"names": dumps(names), "now": tx.now}
    return {row.name: row for row in _key_rows.decode(tx.db.text(_KEYS, params))}


def _settle(tx: Transaction, name: str, holder: JobId, until: int) -> None:
    tx.db.run(_SUCCEED, {"name": name, "holder": holder, "until": until})
