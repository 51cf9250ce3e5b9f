"""The photo service over HTTP, its jobs run where they are enqueued."""

import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
from starlette.routing import Route

from backline import Retry, State
from backline.demo.album import half
from backline.demo.library import USERS
from backline.demo.thumbnails import SIZES
from backline.job import JobRecord
from backline.store import Filter, QueueSettings


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The service's module, imported as its process does, with a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOS_HOME", str(tmp_path_factory.mktemp("photos")))
        for name in ("tasks", "service", "inline"):
            patch.delitem(sys.modules, f"backline.demo.{name}", raising=False)
        module = import_module("backline.demo.service")
        module.library.prepare()
        yield module


@pytest.fixture
async def client(service: ModuleType) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=service.web)
    with service.app.immediate(raising=False):
        async with httpx2.AsyncClient(transport=transport, base_url="http://photos") as client:
            yield client


@pytest.fixture
def data(photo: Path) -> bytes:
    return photo.read_bytes()


async def share(
    client: httpx2.AsyncClient, data: bytes, name: str = "beach.jpg"
) -> httpx2.Response:
    files = {"photo": (name, data, "image/jpeg")}
    return await client.post("/photos", data={"owner": USERS[0]}, files=files)


async def job_of(service: ModuleType, answer: httpx2.Response) -> JobRecord:
    [job] = await service.app.store.get([answer.json()["job"]])
    assert job is not None
    return job


async def test_an_upload_is_kept_enqueued_answered_and_shown(
    service: ModuleType, client: httpx2.AsyncClient, data: bytes
) -> None:
    answer = await share(client, data)

    assert answer.status_code == 202
    photo_id = answer.json()["photo"]
    assert service.library.original(photo_id).read_bytes() == data
    assert (await job_of(service, answer)).state is State.SUCCEEDED
    assert service.library.made(photo_id) == frozenset(SIZES)
    for size in SIZES:
        thumbnail = await client.get(f"/thumbnails/{photo_id}/{size}.jpg")
        assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/jpeg")
    page = (await client.get("/")).text
    assert f"photo-{photo_id}" in page
    assert "beach" in page
    assert f"/thumbnails/{photo_id}/256.jpg" in page


async def test_a_photograph_without_thumbnails_is_shown_with_its_jobs_state(
    service: ModuleType, client: httpx2.AsyncClient, data: bytes
) -> None:
    later = service.make_thumbnails.using(delay="1h")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "make_thumbnails", later)
        answer = await share(client, data)

    assert (await job_of(service, answer)).state is State.SCHEDULED
    live = (await client.get("/live")).text
    card = live.split(f'id="photo-{answer.json()["photo"]}"')[1].split("</li>")[0]
    assert "scheduled" in card
    assert "0 of 5 sizes" in card
    assert "<html" not in live
    assert "no worker is running" in live


async def test_a_full_queue_is_a_429_that_leaves_nothing_behind(
    service: ModuleType, client: httpx2.AsyncClient, data: bytes
) -> None:
    originals = service.library.saved()
    shared = service.library.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "make_thumbnails", service.make_thumbnails.using(delay="1h"))
        await service.app.store.configure([QueueSettings(queue="photos", max_depth=1)])
        first, second = await share(client, data), await share(client, data)

    assert (first.status_code, second.status_code) == (202, 429)
    assert int(second.headers["retry-after"]) >= 1
    assert "'photos' is full" in second.json()["error"]
    assert service.library.saved() == originals + 1
    assert service.library.count() == shared + 1


async def test_a_corrupt_photograph_dies_with_its_reason_and_succeeds_once_replaced(
    service: ModuleType, client: httpx2.AsyncClient, photo: Path, data: bytes
) -> None:
    at_once = service.make_thumbnails.using(retry=Retry(delays=[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "make_thumbnails", at_once)
        answer = await share(client, half(photo), "torn.jpg")
    await service.app.adrain(scheduled=True)

    dead = await job_of(service, answer)
    assert (dead.state, dead.failures) == (State.DEAD, 3)
    assert dead.errors[-1].kind == "OSError"
    assert "truncated" in dead.errors[-1].message
    live = (await client.get("/live")).text
    assert dead.errors[-1].message in live
    parked = await service.app.store.find(Filter(states=frozenset({State.DEAD})), limit=2)
    assert [job.id for job in parked.jobs] == [dead.id]

    service.library.keep(answer.json()["photo"], data)
    assert await service.app.store.redrive([dead.id]) == [True]
    await service.app.adrain()

    assert (await job_of(service, answer)).state is State.SUCCEEDED
    assert service.library.made(answer.json()["photo"]) == frozenset(SIZES)


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"owner": "ann"}},
        {"files": {"photo": ("a.jpg", b"data")}},
        {"data": {"owner": "ann", "photo": "text"}},
        {"data": {"owner": "ann", "more": "than", "is": "allowed"}},
        {"content": b"no form", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"no form"},
    ],
)
async def test_what_is_no_photograph_is_a_400(
    service: ModuleType, client: httpx2.AsyncClient, form: dict[str, object]
) -> None:
    before = service.library.saved()
    answer = await client.post("/photos", **form)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert service.library.saved() == before


async def test_a_photograph_that_is_too_large_is_a_413(
    service: ModuleType, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_BYTES", 1_000)
    before = service.library.saved()
    assert (await share(client, bytes(1_001))).status_code == 413
    assert service.library.saved() == before


async def test_a_hostile_title_is_shown_as_text(client: httpx2.AsyncClient, data: bytes) -> None:
    answer = await share(client, data, "<script>alert(1)</script>.jpg")
    assert answer.status_code == 202
    page = (await client.get("/")).text
    assert "<script>alert" not in page


async def test_a_profile_comes_from_the_database_once_and_then_from_the_cache(
    service: ModuleType, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.profiles.clear()
    first = await client.get(f"/users/{USERS[3]}")
    assert first.json()["name"] == USERS[3]

    monkeypatch.setattr(service.library, "profile", lambda name: pytest.fail("not from the cache"))
    assert (await client.get(f"/users/{USERS[3]}")).json() == first.json()


async def test_a_profile_is_looked_up_again_when_it_is_old(
    service: ModuleType, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.profiles.clear()
    monkeypatch.setattr(service, "PROFILE_TTL_S", 0.0)
    first = (await client.get(f"/users/{USERS[4]}")).json()
    monkeypatch.setattr(service.library, "profile", lambda name: service.Profile(name, "new", 9))
    assert (await client.get(f"/users/{USERS[4]}")).json()["motto"] == "new" != first["motto"]


async def test_an_unknown_user_is_a_404(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/users/nobody")).status_code == 404


async def test_the_inline_twin_makes_thumbnails_before_it_answers(
    service: ModuleType, client: httpx2.AsyncClient, data: bytes
) -> None:
    inline = import_module("backline.demo.inline")
    service.web.routes.append(Route("/inline/photos", inline.share, methods=["POST"]))
    try:
        files = {"photo": ("beach.jpg", data, "image/jpeg")}
        answer = await client.post("/inline/photos", data={"owner": USERS[0]}, files=files)
    finally:
        service.web.routes.pop()
    assert answer.status_code == 201
    assert service.library.made(answer.json()["photo"]) == frozenset(SIZES)
    assert "inline" in (await client.get("/live")).text
