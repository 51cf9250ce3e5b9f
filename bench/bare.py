"""An app without tasks: what a worker process weighs before any user code."""

from typing import Final

from backline import App

TARGET: Final = f"{__name__}:app"

app: Final = App()
