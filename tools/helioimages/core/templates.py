"""Templates of pages: a name that is not given is an error, and what is given is escaped.

jinja2 is imported by what makes pages: it takes a tenth of the time that a command needs to start, and few make any.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


def pages(folder: Path, **options: Any) -> jinja2.Environment:
    """Return what makes HTML of the templates in a folder.

    Args:
        options: of jinja2's environment.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(folder)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, **options)
