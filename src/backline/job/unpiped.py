"""What people try who come from elsewhere: `|` between jobs."""

from typing import TYPE_CHECKING, NoReturn


class Unpiped:
    """What `|` does not join: says so. Type checkers refuse it by themselves."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __or__(self, other: object) -> NoReturn:
            raise TypeError(
                "jobs are not joined by |: chain(a, b) runs one after the other, group(a, b) both "
                "side by side"
            )
