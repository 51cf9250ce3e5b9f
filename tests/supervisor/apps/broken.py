"""An app whose module fails while it is imported."""


def configure() -> None:
    raise ValueError("no such kitchen")


configure()
