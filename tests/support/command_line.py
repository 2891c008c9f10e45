"""The command line as a person calls it, every verb of it loaded."""

from __future__ import annotations

import click

from buildimages import VERBS
from helioimages.verbs.command import program

main = program(VERBS)
for _name in main.list_commands(click.Context(main)):
    main.get_command(click.Context(main), _name)
