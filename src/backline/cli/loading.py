"""The user's app, from what the command line or the environment says."""

from backline.app import App
from backline.child import CannotLoad, load
from backline.cli.common import ExitCode, Failure, surroundings
from backline.cli.remedies import ANY_APP

APP_HELP = "The app, as module:attribute.  [env: BACKLINE_APP]"


def target_of(given: str | None) -> str:
    """The app to work for, as `module:attribute`. Raises Failure if nothing names one."""
    target = given or surroundings().environ.get("BACKLINE_APP", "")
    if not target:
        raise Failure(
            "which app? Name it as module:attribute, or set BACKLINE_APP",
            fix=f"the same command with -A {ANY_APP}: shop:app, for `app = App()` in shop.py",
            code=ExitCode.USAGE,
        )
    name, colon, attribute = target.partition(":")
    if name.endswith(".py") or "/" in name:  # a file, as shells complete it
        name = name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")
    return f"{name}:{attribute if colon else 'app'}"


def load_app(given: str | None) -> App:
    """Import the app. Raises Failure with what of the traceback is the user's own."""
    target = target_of(given)
    try:
        return load(target)
    except CannotLoad as error:
        raise Failure(str(error), code=ExitCode.APP) from None
