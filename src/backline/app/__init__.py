"""The composition root: where a service declares its tasks and enqueues their jobs."""

from backline.app.app import App
from backline.app.publishing import PublishedEvent
from backline.app.schedules import Schedule

__all__ = ["App", "PublishedEvent", "Schedule"]
