"""How an error is told: as lines for people or, with ``--json``, as one object on one line of stderr.

stderr as gh and docker have it, not stdout as conda does: verbs that give their result first and fail then (`verify`,
`audit`, `hub`) would leave two documents on stdout, so that stdout has a whole result or nothing. The object is the
last line of stderr; progress goes before it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from ..core.errors import HelioError, Stage

_INTERRUPTED = 130


def wants_json(words: Sequence[str]) -> bool:
    """Say whether a command line asks for JSON; words that cannot be read as one may ask for it, too."""
    return "--json" in (words[: words.index("--")] if "--" in words else words)


@contextlib.contextmanager
def telling(*, as_data: bool, debug: bool = False) -> Iterator[None]:
    """Tell each error of the block, and exit with its code.

    Args:
        as_data: as JSON.
        debug: let it through instead, so that Python shows where it was raised; an interrupt is told in any case.
    """
    try:
        yield
    except KeyboardInterrupt:
        interrupted(as_data=as_data)
    # What click tells, or a reader that went away.
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if debug:
            raise
        failure = _ToldError.of(error)
        if as_data:
            failure.write()
        else:
            failure.say()
        sys.exit(failure.code)


def interrupted(*, as_data: bool) -> None:
    """Tell of Ctrl-C, and exit.

    Raises:
        SystemExit: 130, as shells have it.
    """
    # A thread that still works would hold the rows of the terminal, and its cursor.
    from ..core import progress

    progress.close()
    if as_data:
        hint = "the next run goes on from here"
        _ToldError(stage="interrupted", code=_INTERRUPTED, message="interrupted", hint=hint).write()
    else:
        click.secho("interrupted; the next run goes on from here", fg="red", err=True)
    sys.exit(_INTERRUPTED)


def usage(error: click.ClickException) -> None:
    """Tell of a command line that click refuses, as JSON, and exit.

    Raises:
        SystemExit: with click's code, which is 2.
    """
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"{context.command_path} --help" if context else ""
    _ToldError(stage="usage", code=error.exit_code, message=error.format_message(), hint=hint).write()
    sys.exit(error.exit_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToldError:
    """What is told of an error; the keys of the object that ``--json`` gives."""

    stage: str
    code: int
    message: str
    where: str = ""
    detail: str = ""
    hint: str = ""

    @staticmethod
    def of(error: Exception) -> _ToldError:
        """Return what is told of any error."""
        if isinstance(error, HelioError):
            return _ToldError(
                stage=error.stage.name.lower(),
                code=int(error.stage),
                message=error.message,
                where=error.where,
                detail=error.detail,
                hint=error.hint,
            )
        if isinstance(error, OSError):
            # What no stage expected: a disk that is full or read-only, a folder of somebody else.
            # Whoever wrote into an open file is not told which one.
            what = f"`{error.filename}`" if error.filename else "a file"
            return _ToldError(
                stage=Stage.HOST.name.lower(),
                code=int(Stage.HOST),
                message=f"the system refuses {what}",
                detail=error.strerror or str(error),
                hint="check space and rights; `buildimages --debug` shows where",
            )
        return _ToldError(
            stage="fault",
            code=1,
            message=f"a fault of buildimages: {type(error).__name__}",
            detail=str(error),
            hint="please report it with what `buildimages --debug`, put before the verb, shows",
        )

    def write(self) -> None:
        """Write it as JSON."""
        click.echo(json.dumps({"error": dataclasses.asdict(self)}), err=True)

    def say(self) -> None:
        """Write it for people."""
        lines = [f"error: {self.message}", *([f"  in {self.where}"] if self.where else [])]
        lines += [f"  {line}" for line in self.detail.splitlines()]
        hint = f"\nhint: {self.hint}" if self.hint else ""
        if sys.stderr.isatty() or os.environ.get("FORCE_COLOR"):
            from ..core.rows import console

            console.print("\n".join(lines), style="red", markup=False, emoji=False, soft_wrap=True)
            if hint:
                console.print(hint, markup=False, emoji=False, soft_wrap=True)
        else:
            click.echo("\n".join([*lines, *([hint] if hint else [])]), err=True)
