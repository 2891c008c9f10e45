"""What every verb has: options, errors as lines, exit codes by stage. Data go to stdout, all else to stderr."""

from __future__ import annotations

import functools
import glob
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click

from .. import __version__
from ..core.errors import HelioError, Stage
from ..core.progress import console
from ..machine.store import Store, default_root
from .workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
#: The processors that this process may use, not those that the machine has.
_CORES = len(os.sched_getaffinity(0))


def checkout() -> Path:
    """Return the checkout that the tool lies in or, where it is installed apart from one, the one that we stand in."""
    here = Path.cwd()
    return next((folder for folder in (ROOT, here, *here.parents) if (folder / "images").is_dir()), here)


def _image_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    # For the shell's completion, so nothing is read but names.
    found = (Path(ctx.params.get("root") or checkout()) / "images").glob(f"{glob.escape(incomplete)}*/image.toml")
    return sorted(path.parent.name for path in found)


class Verbs(click.Group):
    """Lists verbs in the pipeline's order, not the alphabet's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs as they were added."""
        return list(self.commands)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """Locked environments to deterministic, layered container images.

    Verbs that make or use images take their names, or all images if none is named. Exit codes: 2 usage, 3 spec, 4 lock,
    5 fetch, 6 link, 7 build, 8 smoke, 9 publish, 10 engine, 11 host, 12 check.
    """
    main.debug = debug


def verb(function: Callable | None = None, *, images: bool = True) -> Callable:
    """Make a function a verb: the options that all verbs have, errors as lines, exit codes by stage.

    Args:
        images: it takes names; else a name is refused.
    """
    if function is None:
        return functools.partial(verb, images=images)

    @functools.wraps(function)
    def run(*args, **kwargs):
        # Whoever ends us politely (a CI's cancelled job) ends what we started too.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            try:
                return function(*args, **kwargs)
            except BrokenPipeError:
                raise
            except OSError as error:
                # What no stage expected: a disk that is full or read-only, a folder of somebody else.
                what = f"`{error.filename}`" if error.filename else type(error).__name__
                raise HelioError(
                    Stage.HOST,
                    f"the system refuses {what}",
                    detail=error.strerror or str(error),
                    hint="check space and rights; `buildimages --debug` shows where",
                ) from error
        except HelioError as error:
            if getattr(main, "debug", False):
                raise
            text, _, hint = str(error).partition("\n\nhint: ")
            console.print(f"error: {text}", style="red", markup=False, soft_wrap=True)
            if hint:
                console.print(f"\nhint: {hint}", markup=False, soft_wrap=True)
            sys.exit(int(error.stage))
        except KeyboardInterrupt:
            console.print("interrupted; the next run goes on from here", style="red")
            sys.exit(130)
        finally:
            signal.signal(signal.SIGTERM, before)

    options = [
        *([click.argument("names", nargs=-1, shell_complete=_image_names)] if images else []),
        click.option(
            "--root", type=click.Path(path_type=Path, file_okay=False), default=checkout, help="The checkout."
        ),
        click.option("--jobs", type=click.IntRange(1), default=_CORES, show_default=True, help="Workers."),
        click.option("--platform", default="linux/amd64", show_default=True, help="What images are for."),
        click.option(
            "--channel",
            type=click.Choice(["local", "conda-forge"]),
            default="local",
            show_default=True,
            help="Conda lock.",
        ),
        click.option("--json", "as_data", is_flag=True, help="Print the result as JSON."),
    ]
    for option in reversed(options):
        run = option(run)
    return main.command()(run)


def workspace(root: Path, jobs: int, platform: str, channel: str) -> Workspace:
    """Return the checkout with the store that the environment names."""
    return Workspace(root.resolve(), Store(default_root()), jobs=jobs, platform=platform, channel=channel)
