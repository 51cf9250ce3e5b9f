"""The command line, in this process: each bad word gets one clean message and the promised
exit code, or is stored as it stands and shown on one line."""

import json
from pathlib import Path

import pytest
from tests.bad_input.corpus.names import NAMES, XSS, Name
from tests.bad_input.corpus.texts import TEXTS, Text
from tests.bad_input.corpus.times import LENGTHS, WRITTEN, Instant, Length
from tests.bad_input.shell import backline, clean

OK, NOT_DONE, USAGE = {0}, {1}, {2}
LONGEST_WORD = 100_000


def is_word(value: object) -> bool:
    """Whether a shell could hand it over."""
    return isinstance(value, str) and "\0" not in value and len(value) <= LONGEST_WORD


WORDS = [each for each in NAMES if is_word(each.value)]
ARGUMENTS = [each for each in TEXTS if b"\0" not in each.data and len(each.data) <= LONGEST_WORD]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('commands')}/jobs.db?durability=normal"
    clean(backline("migrate", "--store", url))
    return url


def jobs(store: str, *where: str) -> list[dict[str, object]]:
    result = clean(backline("jobs", "--json", "--all", "--store", store, *where))
    return [json.loads(line) for line in result.stdout.splitlines()]


def enqueued(store: str, *words: str) -> dict[str, object]:
    """The job that `backline enqueue WORDS` made, as `backline job` shows it."""
    result = clean(backline("enqueue", "--store", store, *words))
    job = result.stdout.strip()
    clean(backline("job", job, "--store", store))
    found: dict[str, object] = json.loads(
        clean(backline("job", job, "--json", "--store", store)).stdout
    )
    return found


@pytest.mark.parametrize("case", [each for each in WORDS if each.fine], ids=lambda case: case.name)
def test_a_name_is_kept_and_shown_on_one_line(store: str, case: Name) -> None:
    name = "".join(case.value)
    found = enqueued(
        store, f"--queue={name}", f"--tag={name}", f"--unique-key={name}", f"--header={name}=x",
        f"--text=text={name}", "--", name,
    )  # fmt: skip
    assert (found["task"], found["queue"], found["tags"]) == (name, name, [name])
    assert found["unique_key"] == f"{name}:{name}"
    before, _, after = f"{name}=x".partition("=")
    assert found["headers"] == {before: after}
    assert found["kwargs"] == {"text": name}


def test_a_script_is_a_name_like_any_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    for case in XSS:
        words = (f"--queue={case.value}", f"--tag={case.value}", f"--text=text={case.value}")
        clean(backline("enqueue", "--store", url, *words, "--", case.value))
    for look in (["jobs", "--all"], ["queues"], ["top", "--once"], ["doctor"]):
        clean(backline(*look, "--store", url), {0, 1})
    found = {job["task"]: job for job in jobs(url)}
    for case in XSS:
        job = found[case.value]
        assert (job["queue"], job["tags"]) == (case.value, [case.value])
        assert job["kwargs"] == {"text": case.value}


@pytest.mark.parametrize(
    "case", [each for each in WORDS if not each.fine], ids=lambda case: case.name
)
def test_a_name_is_refused(store: str, case: Name) -> None:
    for words in (
        ["--", case.value], [f"--queue={case.value}", "t"], [f"--tag={case.value}", "t"],
        [f"--unique-key={case.value}", "t"],
    ):  # fmt: skip
        clean(backline("enqueue", "--store", store, *words), USAGE)
    clean(backline("pause", "--new", "--store", store, "--", case.value), USAGE)
    assert jobs(store, "--task=t") == []


@pytest.mark.parametrize("case", WORDS, ids=lambda case: case.name)
def test_no_command_minds_a_name_that_is_not_there(store: str, case: Name) -> None:
    at = ("--store", store)
    word = "".join(case.value)
    surrogate = "surrogate" in case.name
    where = (f"--queue=no {word}", f"--task={word}", f"--tag={word}")
    clean(backline("dead", *where, *at), USAGE if surrogate else OK)
    clean(backline("cancel", *at, "--", f"no {word}"), USAGE)
    clean(backline("redrive", *at, "--", f"no {word}"), USAGE if surrogate else NOT_DONE)
    clean(backline("drain", f"no.{word}"), {2} if surrogate else {4})
    clean(backline(f"no {word}"), USAGE)


@pytest.mark.parametrize("case", ARGUMENTS, ids=lambda case: case.name)
def test_an_argument_is_json_or_refused(store: str, case: Text) -> None:
    word = case.data.decode(errors="surrogateescape")
    words = ("t.argument", word) if not word.startswith("-") else ("t.argument", "--", word)
    result = backline("enqueue", "--store", store, *words)
    if case.verdict == "value":
        clean(result)
        [job] = [clean(backline("job", result.stdout.strip(), "--json", "--store", store))]
        assert json.loads(job.stdout)["args"] == [json.loads(case.data)]
    else:
        clean(result, USAGE)
        assert jobs(store, "--task=t.argument", "--tag=none") == []


@pytest.mark.parametrize(
    "case", [each for each in LENGTHS if is_word(each.value)], ids=lambda case: case.name
)
def test_a_length_is_exact_or_refused(store: str, case: Length) -> None:
    for option in ("--delay", "--timeout", "--expires"):
        result = backline("enqueue", "--store", store, f"{option}={case.value}", "t.length")
        clean(result, OK if case.micros else USAGE)
    bare = case.value.isascii() and case.value.replace(".", "", 1).isdigit()
    if not case.micros and not (bare and case.name == "no unit"):
        clean(backline("purge", f"--older-than={case.value}", "--all", "--store", store), USAGE)
        clean(backline("top", "--once", f"--interval={case.value}", "--store", store), USAGE)


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case.name)
def test_a_time_is_exact_or_refused(store: str, case: Instant) -> None:
    words = ("enqueue", "--store", store, f"--run-at={case.value}", "t.time")
    if case.micros is None:
        clean(backline(*words), USAGE)
        return
    found = enqueued(store, f"--run-at={case.value}", "t.time")
    digits = str(found["due_at"])
    assert digits.startswith(case.value[:4])
    assert digits.endswith("Z")


@pytest.mark.parametrize("number", ["", "x", "1.5", "1e3", "9" * 30, "9" * 5000, "-1", "0", "NaN"])
def test_a_number_that_cannot_be(store: str, number: str) -> None:
    clean(backline("enqueue", f"--max-attempts={number}", "t", "--store", store), USAGE)
    clean(backline("jobs", f"--limit={number}", "--store", store), LIMITS.get(number, USAGE))
    if number not in {"-1", "0"}:
        clean(backline("enqueue", f"--priority={number}", "t", "--store", store), USAGE)
    if number not in {"0", "1.5"}:
        clean(backline("worker", f"--max-memory={number}", "-A", "no:app"), USAGE)


LIMITS = {"9" * 30: OK}


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x", "file:///etc/passwd",
        "http://x", "sqlite:///x?mode=ro", "sqlite:///x?durability=no", "sqlite:///\x1b[2J",
        "x" * 100_000, "memory://", "redis://[::1", "sqlite:///a%00b", "sqlite:////dev/null/x",
        "sqlite:////proc/self/mem", "sqlite:////", "sqlite:///.",
    ],
    ids=lambda url: url[:20],
)  # fmt: skip
def test_a_store_that_cannot_be(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clean(backline("jobs", "--store", url), {1, 2, 3})
    clean(backline("migrate", "--store", url), {1, 2, 3})
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        (b"", {0}),
        (b"\xff\xfe", {2}),
        (b"\0\x01", {2}),
        (b"\x1b[2J", {2}),
        (b"x" * 1_000_000, {2}),
        (b"a " * 500_000, {1}),
        (b"\n" * 1_000_000, {0}),
        ("\u202e".encode(), {2}),
    ],
    ids=lambda v: repr(v)[:20],
)
def test_ids_from_standard_input(store: str, given: bytes, codes: set[int]) -> None:
    for command in ("cancel", "retry", "purge"):
        clean(backline(command, "-", "--store", store, stdin=given), codes)
