#!/usr/bin/env python3
"""Write the verbs of docs/reference.md from the command line itself; a test fails when they differ."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from helioimages.machine import bootstrap  # noqa: E402

if __name__ == "__main__":
    bootstrap.ensure()

import click  # noqa: E402

PAGE = ROOT / "docs" / "reference.md"
BEGIN, END = "<!-- verbs: written by docs/make_reference.py -->\n", "<!-- end of verbs -->\n"
EVERY = ("root", "jobs", "platform", "channel", "as_data")


def verbs() -> str:
    """Return the section as Markdown: one heading a verb, one row an option that not every verb has."""
    from buildimages import VERBS
    from helioimages.verbs.command import program

    parts = []
    main = program(VERBS)
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        text = " ".join((command.help or "").split())
        parts.append(f"### {name}\n\n{text}\n")
        rows = []
        for option in command.params:
            if not isinstance(option, click.Option) or option.name in EVERY:
                continue
            names = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
            value = "" if option.is_flag else f" {_value(option)}"
            rows.append(f"| {names}{value} | {' '.join((option.help or '').split())}{_default(option)} |")
        if rows:
            parts.append("| option | |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "`" + "`, `".join(option.type.choices) + "`"
    return option.metavar or option.type.name.upper()


def _default(option: click.Option) -> str:
    shown = option.show_default and option.default not in (None, False, "")
    return f" Default: `{option.default}`." if shown else ""


def page(text: str) -> str:
    """Return a page's text with the section renewed."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{verbs()}\n{END}{tail}"


if __name__ == "__main__":
    now = PAGE.read_text("utf-8")
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if page(now) == now else "docs/reference.md is stale: run `python3 docs/make_reference.py`")
    PAGE.write_text(page(now), "utf-8")
