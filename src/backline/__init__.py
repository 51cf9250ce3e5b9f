"""Background jobs that are not lost."""

from backline._version import __version__

__all__ = ["__version__"]
