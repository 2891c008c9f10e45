"""Numbers for people: sizes and how many there are of something. Pages, messages and reports say them in one way."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context

_UNITS = ("B", "kB", "MB", "GB", "TB")
#: A half goes up, as in the pages' script.
_THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_UP)


def human_size(number: int) -> str:
    """Return a number of bytes, decimal and to three digits, as docker and hubs say it.

    The pages' script (``catalogue/templates/app.js``) has the same function.

    >>> human_size(999), human_size(12_345), human_size(37_300_000), human_size(2_134_000_000)
    ('999 B', '12.3 kB', '37.3 MB', '2.13 GB')
    """
    value, unit = float(number), 0
    # What rounds to a thousand is one of the next unit.
    while (rounded := float(_THREE_DIGITS.create_decimal_from_float(value))) >= 1000 and unit + 1 < len(_UNITS):
        value, unit = value / 1000, unit + 1
    return f"{rounded:,.15g} {_UNITS[unit]}"


def plural(number: float, noun: str) -> str:
    """Return a noun for so many.

    >>> plural(1, "layer"), plural(2, "layer"), plural(0, "advisory"), plural(2, "try")
    ('layer', 'layers', 'advisories', 'tries')
    """
    if number == 1:
        return noun
    return re.sub("(?<=[^aeiou])y$", "ie", noun) + "s"


def count(number: int, noun: str) -> str:
    """Return how many of something.

    >>> count(1, "layer"), count(1204, "file")
    ('1 layer', '1,204 files')
    """
    return f"{number:,} {plural(number, noun)}"
