"""The photo service's jobs: what its workers do.

backline worker backline.demo.tasks:app --processes 2
"""

import os
from pathlib import Path

from backline import App, Retry
from backline.demo.library import Library
from backline.demo.thumbnails import make_sizes

app = App()  # BACKLINE_URL, else sqlite:///backline.db
app.queue("photos", max_depth=10_000)  # a queue without an end only hides the trouble

library = Library(Path(os.environ.get("PHOTOS_HOME", "photos")))


@app.task(queue="photos", max_attempts=3, retry=Retry(base="250ms"), timeout="30s")
def make_thumbnails(photo_id: str) -> int:
    """Make all thumbnails of a photograph; returns how many.

    A job may run more than once (its worker was killed, its answer was lost), so a task
    should be safe to repeat: this one writes the same files again.
    """
    return len(make_sizes(library.original(photo_id), library.folder(photo_id)))
