"""YAML: brackets in each other are read, or refused at once with the line."""

from __future__ import annotations

import pytest

from helioimages.core import reading
from helioimages.core.errors import HelioError


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_a_hundred_brackets_are_the_most(opening, closing):
    text = f"a:\n  {opening * 100}{closing * 100}\n"
    value = reading.load_yaml(text, "x.yml").take("a", object)
    for _ in range(99):
        value = value[0] if opening == "[" else value["a"]
    assert value == ([] if opening == "[" else {"a": None})
    with pytest.raises(HelioError) as caught:
        reading.load_yaml(text.replace(opening, opening * 2, 1).replace(closing, closing * 2, 1), "x.yml")
    assert (caught.value.where, caught.value.detail) == (
        "x.yml at line 2",
        "expected at most 100 brackets and braces in each other",
    )
