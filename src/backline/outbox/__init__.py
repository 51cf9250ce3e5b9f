"""Jobs and completions in a caller's own transactions: outbox, inbox and relay."""

from backline.outbox.isolated import IsolatedOutboxes
from backline.outbox.outbox import Outbox, sqlite_path
from backline.outbox.relay import Relay, relaying
from backline.outbox.writer import Outboxes, Writer

__all__ = [
    "IsolatedOutboxes",
    "Outbox",
    "Outboxes",
    "Relay",
    "Writer",
    "relaying",
    "sqlite_path",
]
