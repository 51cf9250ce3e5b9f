"""`backline demo`."""

import importlib
import sys
from pathlib import Path

import click

from backline.cli.common import Failure

_MODULE = "backline.demo"


@click.command()
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Your own pictures instead of those that come with Backline.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-output",
    show_default=True,
    metavar="DIRECTORY",
    help="Where the report and the service's files go; those of an earlier run are deleted.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Where the page is.  [default: any]"
)
@click.option(
    "--serve/--no-serve",
    default=None,
    help="Leave the page up after the story.  [default: on a terminal]",
)
def demo(photos: Path | None, output: Path, port: int | None, serve: bool | None) -> int:
    """A photo service, inline and through the queue, measured before your eyes.

    Exit status: 0 all came out as it should, 1 something did not, 2 no pictures.
    """
    try:
        module = importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("backline"):
            raise
        raise Failure(
            f"the demo needs {error.name}, which is not installed",
            fix='pip install "backline[demo]"',
        ) from None
    stays = sys.stdout.isatty() if serve is None else serve
    code: int = module.main(photos, output, port, stays)
    return code
