"""A heavy image is made when it is named, and said when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.locks.checkout import Checkout

IMAGE = 'name = "{0}"\ntitle = "T"\ndescription = "D"\nenvironment = "e"\n[build]\nheavy = {1}\n'


@pytest.fixture
def checkout(tmp_path: Path):
    def make(**heavy: str) -> Checkout:
        for name, value in heavy.items():
            folder = tmp_path / "images" / name
            folder.mkdir(parents=True)
            (folder / "image.toml").write_text(IMAGE.format(name, value))
        return Checkout.of(tmp_path)

    return make


def test_without_names_it_is_left_out_and_said(checkout, capsys):
    made = checkout(big="true", small="false")
    assert made.chosen(()) == ("small",)
    assert capsys.readouterr().err == "==> left out, as heavy: big (name an image to have it)\n"
    assert made.selected(()) == ("big", "small")


def test_named_it_is_made(checkout, capsys):
    assert checkout(big="true", small="false").chosen(("big",)) == ("big",)
    assert capsys.readouterr().err == ""


def test_where_every_image_is_heavy_all_are_meant(checkout):
    assert checkout(big="true", huge="true").chosen(()) == ("big", "huge")
