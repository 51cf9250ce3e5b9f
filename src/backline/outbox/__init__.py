"""Jobs and completions in a caller's own transactions: outbox, inbox and relay."""

from backline.outbox.outbox import Outbox, sqlite_path
from backline.outbox.relay import Relay, relaying
from backline.outbox.writer import Outboxes

__all__ = ["Outbox", "Outboxes", "Relay", "relaying", "sqlite_path"]
