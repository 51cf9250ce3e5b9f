"""The photo service: what a request does, and what it leaves to a job.

Sharing a photograph: the original is saved and a job enqueued, both before the answer, so
whoever gets a 202 will get thumbnails. Making them takes long and nobody waits for it.

Looking a profile up: a cache, then the database. It takes a millisecond and the answer is
all the user came for: work like this belongs in the service, and a queue would only be in
its way.
"""

import math
import secrets
from asyncio import get_running_loop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from backline import QueueFull
from backline.demo.library import USERS, Photo, Profile
from backline.demo.overview import overview
from backline.demo.tasks import app, library, make_thumbnails

MAX_BYTES: Final = 32 * 1024 * 1024
PROFILE_TTL_S: Final = 5.0
PAGES: Final = Path(__file__).parent / "pages"

templates = Jinja2Templates(PAGES)
profiles: dict[str, tuple[float, Profile]] = {}


async def share(request: Request) -> Response:
    """POST /photos: save the original, enqueue the slow part, answer."""
    photo_id, title, owner = await save(request)
    try:
        job = await make_thumbnails.aenqueue(photo_id)  # returns after the commit
    except QueueFull as full:  # say no while it is cheap; the client knows when to come back
        await run_in_threadpool(library.discard, photo_id)
        wait = math.ceil(full.retry_after or 10)
        return JSONResponse({"error": str(full)}, 429, headers={"Retry-After": str(wait)})
    await run_in_threadpool(library.share, Photo(photo_id, title, owner, job.id))
    return JSONResponse({"photo": photo_id, "job": job.id}, 202)


async def look_up(request: Request) -> Response:
    """GET /users/{name}: a profile, from the cache or else from the database."""
    name, now = request.path_params["name"], get_running_loop().time()
    best_before, profile = profiles.get(name, (0.0, None))
    if profile is None or best_before <= now:
        profile = await run_in_threadpool(library.profile, name)
        if profile is None:
            raise HTTPException(404, f"no user {name}")
        profiles[name] = (now + PROFILE_TTL_S, profile)
    return JSONResponse(profile._asdict())


async def page(request: Request) -> Response:
    """GET / and GET /live: what was shared, and how the queue stands."""
    shown = "live.html" if request.url.path == "/live" else "page.html"
    context = await overview(app.store, library)
    return templates.TemplateResponse(request, shown, {**context, "visitor": USERS[0]})


async def save(request: Request) -> tuple[str, str, str]:
    """Keep the photograph of an uploaded form: its new id, its title and its owner."""
    async with request.form(max_files=1, max_fields=1) as form:
        photo, owner = form.get("photo"), form.get("owner")
        if not isinstance(photo, UploadFile) or not isinstance(owner, str):
            raise HTTPException(400, "the form has a file `photo` and a field `owner`")
        if (photo.size or 0) > MAX_BYTES:
            raise HTTPException(413, f"a photograph has at most {MAX_BYTES:,} bytes")
        photo_id, title = secrets.token_hex(8), Path(photo.filename or "untitled").stem
        await run_in_threadpool(library.keep, photo_id, await photo.read())
    return photo_id, title, owner


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Make what is not there yet; leave nothing open."""
    library.prepare()
    yield
    await app.aclose()


web = Starlette(
    routes=[
        Route("/", page),
        Route("/live", page),
        Route("/photos", share, methods=["POST"]),
        Route("/users/{name}", look_up),
        Mount("/thumbnails", StaticFiles(directory=library.thumbnails, check_dir=False)),
        Mount("/pages", StaticFiles(directory=PAGES)),
    ],
    lifespan=lifespan,
)
