"""The SQL of this store: one statement a file, and the migrations in their order."""

from importlib.resources import files
from typing import Final

_HERE: Final = files("backline.stores.sqlite")


def statement(name: str) -> str:
    """The statement of that name, without its header."""
    text = _HERE.joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    body = [line for line in text.splitlines() if not line.startswith("--")]
    return "\n".join(body).strip()


def migrations() -> list[str]:
    """The scripts that lead from an empty file to this version, in their order."""
    found = [entry for entry in _HERE.joinpath("migrations").iterdir() if entry.name[:1].isdigit()]
    return [entry.read_text(encoding="utf-8") for entry in sorted(found, key=lambda f: f.name)]
