"""What must succeed before a tag names an image."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages import documents, publish, trust
from helioimages.errors import HelioError, Stage
from helioimages.pipeline import Workspace
from helioimages.store import Store

REFERENCE = "registry.example.org/base@sha256:" + "0" * 64
IMAGE = 'name = "base"\ntitle = "T"\ndescription = "D"\nenvironment = "e"\n'


def test_the_command_gets_the_reference_and_its_words_are_not_the_result(tmp_path, capfd):
    script = tmp_path / "sign here"
    script.write_text('#!/bin/sh\necho "$1 then $2"\n')
    script.chmod(0o755)
    publish.approve(f"'{script}' --yes", REFERENCE)
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"--yes then {REFERENCE}\n")


@pytest.mark.parametrize(
    ("command", "fault"), [("false", "exit status 1"), ("/no/such/program --yes", "No such file or directory")]
)
def test_a_refusal_says_what_refused(command, fault):
    with pytest.raises(HelioError) as caught:
        publish.approve(command, REFERENCE)
    assert str(caught.value) == (
        f"`{REFERENCE}` gets no tag: `{command.split()[0]}` refuses it\n"
        "  in --before-tag\n"
        f"  {command} {REFERENCE}: {fault}\n"
        "\n"
        "hint: mend that and publish again: what was pushed and tested is kept"
    )
    assert caught.value.stage == Stage.PUBLISH


def test_nothing_is_tagged_before_it(tmp_path, monkeypatch):
    folder = tmp_path / "images" / "base"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(IMAGE)
    ws = Workspace(tmp_path, Store(tmp_path / "store"), jobs=1)
    built = SimpleNamespace(locks=SimpleNamespace(epoch=1_700_000_000, digest="sha256:" + "1" * 64))
    built.image = SimpleNamespace(digest=REFERENCE.partition("@")[2])
    steps: list[str] = []
    monkeypatch.setattr(ws, "build", lambda names, strict: {"base": built})
    monkeypatch.setattr(ws, "registry", lambda host: contextlib.nullcontext())
    pushed = SimpleNamespace(reference=REFERENCE, bytes_sent=0, seconds=0.0)
    monkeypatch.setattr(ws, "push", lambda *_: steps.append("push") or pushed)
    monkeypatch.setattr(ws, "_smoke_once", lambda *_, **__: steps.append("smoke"))
    monkeypatch.setattr(documents, "attach", lambda *_: steps.append("documents"))
    monkeypatch.setattr(trust, "attach", lambda *_, **__: steps.append("sign"))
    monkeypatch.setattr(publish, "existing_tags", lambda *_: {})
    monkeypatch.setattr(publish, "promote", lambda *_: steps.append("tag"))
    with pytest.raises(HelioError, match="gets no tag"):
        ws.publish(("base",), host="registry.example.org", prefix="", out=Path("x"), before_tag="false")
    assert steps == ["push", "smoke", "documents", "sign"]
    ws.publish(("base",), host="registry.example.org", prefix="", out=Path("x"), before_tag="true")
    assert steps[4:] == ["push", "smoke", "documents", "sign", "tag"]
