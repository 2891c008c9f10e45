"""A heavy image is made when it is named, and said when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.machine.store import Store
from helioimages.verbs.workspace import Workspace

IMAGE = 'name = "{0}"\ntitle = "T"\ndescription = "D"\nenvironment = "e"\n[build]\nheavy = {1}\n'


@pytest.fixture
def workspace(tmp_path: Path):
    def make(**heavy: str) -> Workspace:
        for name, value in heavy.items():
            folder = tmp_path / "images" / name
            folder.mkdir(parents=True)
            (folder / "image.toml").write_text(IMAGE.format(name, value))
        return Workspace(tmp_path, Store(tmp_path / "store"), jobs=1)

    return make


def test_without_names_it_is_left_out_and_said(workspace, capsys):
    found = workspace(big="true", small="false")
    assert found.chosen(()) == ("small",)
    assert capsys.readouterr().err == "==> left out, as heavy: big (name an image to have it)\n"
    assert found.checkout.selected(()) == ("big", "small")


def test_named_it_is_made(workspace, capsys):
    assert workspace(big="true", small="false").chosen(("big",)) == ("big",)
    assert capsys.readouterr().err == ""


def test_where_every_image_is_heavy_all_are_meant(workspace):
    assert workspace(big="true", huge="true").chosen(()) == ("big", "huge")
