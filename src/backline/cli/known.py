"""What is not there: said with the name that was probably meant."""

import difflib
from collections.abc import Iterable, Sequence

from backline.cli.common import ExitCode, Failure
from backline.display import shown


def require_known(names: Sequence[str], known: Iterable[str], kind: str, *, fix: str) -> None:
    """Raises Failure for the first of `names` that is not among `known`; `kind` says of what."""
    there = sorted(known)
    for name in names:
        if name not in there:
            close = closest(name, there)
            guess = f"; did you mean {close!r}?" if close else ""
            raise Failure(
                f"there is no {kind} {shown(name)}{guess}", fix=fix, code=ExitCode.NOT_DONE
            )


def closest(name: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name[:200], known, 1)), None)
