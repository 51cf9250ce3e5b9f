"""The invariants of enqueueing: keys, limits, and what producers were told."""

from collections.abc import Iterator

from backline.testing.simulation.history import Event, What
from backline.testing.simulation.trace import Life, Trace, number, replaces


def c8_unique(trace: Trace) -> Iterator[str]:
    """One live job per unique key and window, but for a successor that waits."""
    keyed: dict[str, list[Life]] = {}
    for life in trace.lives.values():
        key = life.request.unique_key
        if key is not None and life.added is not None:
            keyed.setdefault(key, []).append(life)
    for key, lives in keyed.items():
        if any(life.redrives for life in lives):
            continue  # a redrive takes the key back, or does without: see the model
        lives.sort(key=_added_at)
        for index, life in enumerate(lives):
            for earlier in lives[:index]:
                yield from _shares(key, life, earlier)
            if index:
                yield from _within_window(key, life, lives[index - 1])


def _shares(key: str, life: Life, earlier: Life) -> Iterator[str]:
    """`life` was added, or ran, while `earlier` lived."""
    end = min((event.seq for event in earlier.ends()), default=1 << 62)
    if end < _added_at(life):
        return
    if not replaces(life):
        yield f"{life.id} was added under {key!r}, which {earlier.id} held"
    elif life.attempts and life.attempts[0].leased.seq < end:
        yield f"{life.id} ran before {earlier.id} gave {key!r} back"


def _within_window(key: str, life: Life, holder: Life) -> Iterator[str]:
    """`life` was added while the key stayed taken by `holder`, though that had ended."""
    assert life.added is not None
    assert holder.added is not None
    until = holder.added.wall + holder.request.unique_for
    if holder.request.unique_for and life.added.wall < until and not replaces(life):
        yield f"{life.id} was added under {key!r}, within the window of {holder.id}"


def c8_idempotent(trace: Trace) -> Iterator[str]:
    """One answer for each idempotency key: the first, and a mismatch for another payload."""
    settled: dict[str, list[tuple[Event, Life]]] = {}
    for life in trace.lives.values():
        key, events = life.request.idempotency_key, [*life.taken]
        if life.added is not None:
            events.append(life.added)
        if key is not None:
            answers = [(event, life) for event in events if not event.note.get("conflict")]
            settled.setdefault(key, []).extend(answers)
    for key, answers in settled.items():
        answers.sort(key=lambda answer: answer[0].seq)
        if answers:
            yield from _same_answers(key, *answers)


def _same_answers(key: str, given: tuple[Event, Life], *later: tuple[Event, Life]) -> Iterator[str]:
    first, life = given
    job, asked = first.note.get("holder", life.id), life.request.fingerprint
    if first.note.get("mismatch"):
        yield f"{life.id} was the first under {key!r}, and a mismatch"
    for event, other in later:
        if event.what is What.ADDED:
            yield f"{other.id} was added under {key!r}, which stood for {job}"
        elif event.note["holder"] != job:
            yield f"{other.id} was answered {event.note['holder']} for {key!r}, not {job}"
        elif bool(event.note["mismatch"]) != (other.request.fingerprint != asked):
            yield f"{other.id} was told otherwise than that it asked what {life.id} had"


def _added_at(life: Life) -> int:
    assert life.added is not None
    return life.added.seq


def c18_backpressure(trace: Trace) -> Iterator[str]:
    """No enqueue takes a queue above its limit, and what was refused is not there."""
    for index, event in enumerate(trace.events):
        if event.what is What.ADDED:
            after = _counts_after(trace, index, trace.queue_of(event.job))
            limit = None if after is None else after.note["max_depth"]
            if after is not None and isinstance(limit, int) and number(after, "depth") > limit:
                yield f"{event.job} took its queue to {after.note['depth']} of {limit}"
        fits = number(event, "depth") + number(event, "jobs") <= number(event, "max_depth")
        if event.what is What.FULL and fits:
            yield f"a call was refused at {event.note['depth']} of {event.note['max_depth']}"
    for life in trace.lives.values():
        for answer in life.answers:
            refused = answer.what in (What.REFUSED, What.SHED)
            if refused and _stored_before(life, answer) and not _in_part(life, answer):
                yield f"{life.id} was {answer.what.value}, and is there all the same"


def _stored_before(life: Life, answer: Event) -> bool:
    return life.added is not None and life.added.seq < answer.seq


def _in_part(life: Life, answer: Event) -> bool:
    """Its call had been answered by a conflict of another job: of a repeat of that call, what
    was not stored then may be refused."""
    return any(
        earlier.what is What.CONFLICT and _stored_before(life, earlier)
        for earlier in life.answers
        if earlier.seq < answer.seq
    )


def _counts_after(trace: Trace, index: int, queue: str) -> Event | None:
    """The snapshot that was taken right after an enqueue."""
    for event in trace.events[index + 1 :]:
        if event.what is What.COUNTS and event.note["queue"] == queue:
            return event
        if event.what not in (What.ADDED, What.AGAIN, What.TAKEN, What.FULL, What.COUNTS):
            return None
    return None


def answers_true(trace: Trace) -> Iterator[str]:
    """What a producer was told of a job is what the store had done by then."""
    for life in trace.lives.values():
        for answer in life.answers:
            added = _stored_before(life, answer)
            if is_stored(answer) and not added:
                yield f"{life.id} is stored, its producer was told, and it was not"
            if answer.what is What.ENQUEUED and not is_stored(answer):
                yield from _stands_behind(trace, life, answer)
            if answer.what is What.CONFLICT and answer.note["inner"] and added:
                yield f"{life.id} was added by a call that was in conflict with itself"
        if life.answers and life.answers[-1].what is What.ENQUEUED and not life.asked:
            yield f"{life.id} was answered and never asked for"


def i9_after_its_parents(trace: Trace) -> Iterator[str]:
    """A job begins once its parents have ended, unless somebody started it over."""
    for life in trace.lives.values():
        if not life.attempts or life.redrives:
            continue
        begun = life.attempts[0].leased.seq
        for after in life.request.after:
            parents = [trace.lives[after.parent]] if after.parent in trace.lives else [
                member for member in trace.lives.values()
                if member.request.group_id == after.parent
            ]  # fmt: skip
            for parent in parents:
                lived = parent.added is not None and parent.added.seq < begun
                if lived and not parent.redrives and not parent.ended_before(begun):
                    yield f"{life.id} began before {parent.id} had ended"


def every_call_ends(trace: Trace) -> Iterator[str]:
    """No caller is left to wait for ever."""
    for life in trace.lives.values():
        if life.asked and (not life.answers or life.answers[-1].seq < life.asked[-1].seq):
            yield f"{life.id} was asked for, and nobody was told anything"


def _stands_behind(trace: Trace, life: Life, answer: Event) -> Iterator[str]:
    """Its key was taken, or known: by a job of the same call, or the store had said so."""
    holder = str(answer.note["holder"])
    other = trace.lives.get(holder)
    if other is None or other.added is None or other.added.seq > answer.seq:
        if not (holder == life.id and life.taken):  # a lost reply: its holder is not known
            yield f"{life.id} stands behind {holder}, its producer was told, which was not there"
    elif not any(event.note["holder"] == holder for event in life.taken) and not (
        _keys(other) & _keys(life)
    ):
        yield f"{life.id} stands behind {holder}, which has another key"


def _keys(life: Life) -> set[tuple[str, str]]:
    """By what another job may answer for this one."""
    keys = {("unique", life.request.unique_key), ("once", life.request.idempotency_key)}
    return {(kind, key) for kind, key in keys if key is not None}


def is_stored(answer: Event) -> bool:
    """Its producer was told that the job itself was added."""
    return answer.what is What.ENQUEUED and answer.note.get("holder") is None
