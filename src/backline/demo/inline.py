"""The same service without a queue: the request makes the thumbnails itself.

For comparison only. It is given every chance: a thread of its own, so the event loop stays
free; and no more at a time than there are cores, so they do not fight for memory.
"""

import asyncio
import os
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backline.demo.library import Photo
from backline.demo.service import save
from backline.demo.tasks import library
from backline.demo.thumbnails import make_sizes

cores: Final = asyncio.Semaphore(os.cpu_count() or 1)


async def share(request: Request) -> Response:
    """POST /inline/photos: save the original, make its thumbnails, answer."""
    photo_id, title, owner = await save(request)
    async with cores:
        await run_in_threadpool(make_sizes, library.original(photo_id), library.folder(photo_id))
    await run_in_threadpool(library.share, Photo(photo_id, title, owner, None))
    return JSONResponse({"photo": photo_id}, 201)
