"""What every verb has: options, errors as lines, exit codes by stage. Data go to stdout, all else to stderr.

Loaded for `--help` and at every press of TAB, so nothing but click is imported before a verb is called.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import io
import keyword
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import click

from .. import __version__
from ..core.near import meant
from ..core.platform import FIRST, Platform
from .errors import telling, usage, wants_json

if TYPE_CHECKING:
    from ..locks.checkout import Checkout
    from ..make.machine import Machine

ROOT = Path(__file__).resolve().parents[3]
#: Where click's context keeps that errors are told as JSON.
_AS_DATA = f"{__package__}.as_data"
#: The processors that this process may use, not those that the machine has.
_CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The options that every verb has.

    Attributes:
        root: the checkout, absolute.
        jobs: processes and downloads at once.
        platform: what images are for.
        channel: which conda lock is built.
        as_data: print the result as JSON.
        frozen: build the locks as they are, though something else is asked for by now.
        names: the images named, for verbs that take some.
    """

    root: Path
    jobs: int
    platform: Platform
    channel: str
    as_data: bool
    frozen: bool = False
    names: tuple[str, ...] = ()

    def checkout(self) -> Checkout:
        """Read the checkout.

        Raises:
            HelioError: a file is wrong.
        """
        from ..locks.checkout import Checkout

        # A warning that nobody reads does not help: in CI a stale lock is an error.
        frozen = self.frozen and os.environ.get("CI", "").lower() in ("", "0", "false")
        return Checkout.of(self.root, platform=self.platform, channel=self.channel, frozen=frozen)

    def machine(self) -> Machine:
        """Return this computer, with the store that the environment names."""
        from ..machine.store import Store, default_root
        from ..make.machine import Machine
        from ..publish.credentials import from_docker_config

        return Machine(store=Store(default_root()), jobs=self.jobs, credentials=from_docker_config())


def checkout() -> Path:
    """Return the checkout that the tool lies in or, where it is installed apart from one, the one that we stand in."""
    here = Path.cwd()
    return next((folder for folder in (ROOT, here, *here.parents) if (folder / "images").is_dir()), here)


def _image_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    # For the shell's completion, so nothing is read but names.
    files = (Path(ctx.params.get("root") or checkout()) / "images").glob(f"{glob.escape(incomplete)}*/image.toml")
    return sorted(path.parent.name for path in files)


class Verbs(click.Group):
    """The verbs of a table, grouped as it groups them; a verb's module is imported when it is called.

    Args:
        table: heading -> verb -> one line of help.
    """

    def __init__(self, *, table: Mapping[str, Mapping[str, str]], **options: Any) -> None:
        super().__init__(**options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the table's order."""
        return [name for verbs in self.table.values() for name in verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb; its module has its name."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name not in self.list_commands(ctx):
            return None
        # `import` is a word of Python's: its module is import_.
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f".{name}", __package__), name)
        self.add_command(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that the command line names, or say which one was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # Click names one by itself, from some version on.
            if "Did you mean" not in error.message and (near := meant(args[0], self.list_commands(ctx))):
                raise click.UsageError(f"{error.message} {near[0].upper()}{near[1:]}", ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, a heading a group; no verb is imported for it."""
        for heading, verbs in self.table.items():
            with formatter.section(heading):
                formatter.write_dl(list(verbs.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete a verb's name from the table."""
        from click.shell_completion import CompletionItem

        lines = {name: text for verbs in self.table.values() for name, text in verbs.items()}
        items = [CompletionItem(name, help=text) for name, text in lines.items() if name.startswith(incomplete)]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run what the command line says; who asked for JSON is told of a wrong word as JSON, too."""
        words = list(sys.argv[1:] if args is None else args)
        as_data = wants_json(words)
        try:
            return super().main(words, prog_name, complete_var, standalone_mode and not as_data, **extra)
        except click.ClickException as error:
            if not standalone_mode:
                raise
            usage(error)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember whether errors are told as JSON, before a verb has read its options."""
        ctx.meta[_AS_DATA] = wants_json(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; whoever interrupts its imports gets a line, too."""
        with telling(as_data=ctx.meta[_AS_DATA], debug=bool(ctx.params["debug"])):
            return super().invoke(ctx)


_FROZEN = click.option(
    "--frozen", is_flag=True, help="Build locks that are stale, as they are; in CI they are refused all the same."
)


def program(table: Mapping[str, Mapping[str, str]]) -> Verbs:
    """Return the command line of a table of verbs: heading -> verb -> one line of help."""

    @click.version_option(__version__)
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @click.pass_context
    def main(ctx: click.Context, debug: bool) -> None:
        """Locked environments to deterministic, layered container images.

        Verbs that make or use images take their names, or all images if none is named. Exit codes: 2 usage, 3 spec,
        4 lock, 5 fetch, 6 link, 7 build, 8 smoke, 9 publish, 10 engine, 11 host, 12 check.
        """
        ctx.obj = debug

    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    made: Verbs = click.group(name="buildimages", cls=Verbs, table=table, context_settings=settings)(main)
    return made


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let whoever ends us politely (a CI's cancelled job) end what we started too. Before, Ctrl-C ended us at once.

    Python looks for signals, then waits: one that comes between the two would be heard when that wait is over, maybe a
    quarter of a minute later. Any signal has it look again, so one comes each second.
    """
    handlers = {signal.SIGTERM: signal.default_int_handler, signal.SIGALRM: lambda *_: None}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        handlers[signal.SIGINT] = signal.default_int_handler
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@overload
def verb(function: Callable[..., None], /) -> click.Command: ...


@overload
def verb(*, images: bool = True, builds: bool = False) -> Callable[[Callable[..., None]], click.Command]: ...


def verb(function: Callable[..., None] | None = None, /, *, images: bool = True, builds: bool = False) -> Any:
    """Make a function a verb: the options that all verbs have as its first argument, errors as lines, exit codes.

    Args:
        images: it takes names; else a name is refused.
        builds: it builds images, and can be told to build a lock that is stale.
    """
    if function is None:
        return functools.partial(verb, images=images, builds=builds)

    @functools.wraps(function)
    def run(root: Path, jobs: int, platform: str, channel: str, as_data: bool, **options: Any) -> None:
        # A program that reads us gets each line as it is said: `hub` and `run` go on after their result.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        from ..machine.certificates import believed

        debug = bool(click.get_current_context().find_root().obj)
        with _interruptible(), telling(as_data=as_data, debug=debug), believed():
            common = Common(
                root=root.resolve(),
                jobs=jobs,
                platform=Platform.of(platform),
                channel=channel,
                as_data=as_data,
                frozen=options.pop("frozen", False),
                names=options.pop("names", ()),
            )
            function(common, **options)

    options = [
        *([click.argument("names", nargs=-1, shell_complete=_image_names)] if images else []),
        click.option(
            "--root", type=click.Path(path_type=Path, file_okay=False), default=checkout, help="The checkout."
        ),
        click.option("--jobs", type=click.IntRange(1), default=_CORES, show_default=True, help="Workers."),
        click.option("--platform", default=str(FIRST), show_default=True, help="What images are for."),
        click.option(
            "--channel",
            type=click.Choice(["local", "conda-forge"]),
            default="local",
            show_default=True,
            help="Conda lock.",
        ),
        *([_FROZEN] if builds else []),
        click.option("--json", "as_data", is_flag=True, help="Print the result as JSON."),
    ]
    made: Callable[..., Any] = run
    for option in reversed(options):
        made = option(made)
    return click.command()(made)
