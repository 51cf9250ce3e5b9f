"""The reference store: jobs in this process's memory."""

from backline.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
