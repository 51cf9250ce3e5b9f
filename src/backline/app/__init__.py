"""The composition root: where a service declares its tasks and enqueues their jobs."""

from backline.app.app import App

__all__ = ["App"]
