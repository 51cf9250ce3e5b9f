"""The parent process: starts, watches, restarts and recycles workers; runs no user code."""
