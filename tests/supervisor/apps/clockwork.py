"""An app whose only job comes by itself."""

from backline import App

app = App()


@app.task(every="1s", missed="all")
def chime() -> None: ...
