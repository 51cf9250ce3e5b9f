"""Names: what people may give, and that of a task, the same in every process."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

from backline.display import shown
from backline.errors import ConfigError

MAX_NAME: Final = 200
"""Characters of a queue's, a task's or a tag's name, and of a key."""
_MAIN: Final = ("__main__", "__mp_main__")


def task_name(fn: Callable[..., object]) -> str:
    """Import path and qualified name of a function.

    In a program that was started as a script, `__main__` becomes the name under which a
    worker imports the same file. Raises ConfigError for a function that no other process
    could find: a lambda, or one within another function.
    """
    qualname = fn.__qualname__
    if "<" in qualname:
        kind = "a lambda" if qualname.endswith("<lambda>") else "a function within a function"
        raise ConfigError(
            f"{qualname} is {kind}, which has no name in other processes: give it a name= or "
            "move it to the module's top"
        )
    module = fn.__module__
    if module in _MAIN:
        module = imported_as(sys.modules[module])
    return f"{module}.{qualname}"


def name_text(value: object) -> str:
    """A name people give, as a plain str: printable, neither empty nor long.

    Raises TypeError, ValueError.
    """
    if not isinstance(value, str):
        raise TypeError(f"a str is wanted, not {shown(value)}")
    value = str.__str__(value)  # of a subclass, whatever it does to look otherwise
    if not value or len(value) > MAX_NAME or not value.isprintable() or value != value.strip():
        raise ValueError(f"1 to {MAX_NAME} printable characters are wanted, not {shown(value)}")
    return value


def imported_as(main: ModuleType) -> str:
    """The name under which other processes import the program that runs as `__main__`.

    `python -m pkg.mod` knows it; of `python dir/pkg/mod.py` it is the path from the nearest
    directory that is no package. An interactive session has none and stays `__main__`.
    """
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if file is None:
        return "__main__"
    path = Path(file).resolve()
    parts = [path.stem]
    if path.name == "__main__.py" and not (path.parent / "__init__.py").exists():
        return "__main__"
    for parent in path.parents:
        if not (parent / "__init__.py").exists():
            break
        parts.append(parent.name)
    return ".".join(reversed(parts))
