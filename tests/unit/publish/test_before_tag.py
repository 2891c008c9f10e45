"""What must succeed before a tag names an image."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.locks import stale
from helioimages.locks.checkout import Checkout
from helioimages.machine.store import Store
from helioimages.make import images
from helioimages.make.machine import Machine
from helioimages.publish import attach as trust
from helioimages.publish import documents, release, weights
from helioimages.publish import push as publish
from helioimages.publish.release import PublishOrder
from helioimages.smoke import stage as smoking

REFERENCE = "registry.example.org/base@sha256:" + "0" * 64
IMAGE = 'name = "base"\ntitle = "T"\ndescription = "D"\nenvironment = "e"\n'


def test_the_command_gets_the_reference_and_its_words_are_not_the_result(tmp_path, capfd):
    script = tmp_path / "sign here"
    script.write_text('#!/bin/sh\necho "$1 then $2 in ${HELIOIMAGES_PREDICATES}"\n')
    script.chmod(0o755)
    publish.approve(f"'{script}' --yes", REFERENCE, tmp_path)
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"--yes then {REFERENCE} in {tmp_path}\n")


@pytest.mark.parametrize(
    ("command", "fault"), [("false", "exit status 1"), ("/no/such/program --yes", "No such file or directory")]
)
def test_a_refusal_says_what_refused(tmp_path, command, fault):
    with pytest.raises(HelioError) as caught:
        publish.approve(command, REFERENCE, tmp_path)
    assert str(caught.value) == (
        f"`{REFERENCE}` gets no tag: `{command.split()[0]}` refuses it\n"
        "  in --before-tag\n"
        f"  {command} {REFERENCE}: {fault}\n"
        "\n"
        "hint: mend that and publish again: what was pushed and tested is kept"
    )
    assert caught.value.stage == Stage.PUBLISH


@pytest.mark.parametrize(("command", "fault"), [("cosign 'sign", "No closing quotation"), ("  ", "it is empty")])
def test_what_is_no_command_is_told_before_any_work(tmp_path, command, fault):
    folder = tmp_path / "images" / "base"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(IMAGE)
    checkout, machine = Checkout.of(tmp_path), Machine(store=Store(tmp_path / "store"), jobs=1)
    with pytest.raises(HelioError) as caught:
        release.publish(checkout, machine, (), PublishOrder(host=None, prefix="", out=Path("x"), before_tag=command))
    assert str(caught.value) == (
        f"`{command}` is not a command\n  in --before-tag\n  expected a program and its options: {fault}"
    )
    assert caught.value.stage == Stage.USAGE


@pytest.mark.parametrize(
    ("host", "prefix", "message"),
    [
        ("https://ghcr.io", "", "`https://ghcr.io` is not a registry"),
        ("ghcr.io/heliocloud", "", "`ghcr.io/heliocloud` is not a registry"),
        ("bad host", "", "`bad host` is not a registry"),
        ("ghcr.io", "HelioCloud/", "`HelioCloud/base` cannot be a repository"),
        (None, "/x/", "`/x/base` cannot be a repository"),
    ],
)
def test_a_place_that_is_none_is_told_before_any_work(tmp_path, host, prefix, message):
    folder = tmp_path / "images" / "base"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(IMAGE)
    checkout, machine = Checkout.of(tmp_path), Machine(store=Store(tmp_path / "store"), jobs=1)
    with pytest.raises(HelioError) as caught:
        release.publish(checkout, machine, (), PublishOrder(host=host, prefix=prefix, out=Path("x")))
    assert (caught.value.stage, caught.value.message) == (Stage.USAGE, message)


def test_a_key_that_cannot_sign_is_told_before_any_work(tmp_path):
    folder = tmp_path / "images" / "base"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(IMAGE)
    (tmp_path / "cosign.pub").write_text("-----BEGIN PUBLIC KEY-----")
    checkout, machine = Checkout.of(tmp_path), Machine(store=Store(tmp_path / "store"), jobs=1)
    with pytest.raises(HelioError) as caught:
        release.publish(
            checkout, machine, (), PublishOrder(host=None, prefix="", out=Path("x"), key=tmp_path / "cosign.pub")
        )
    assert (caught.value.stage, caught.value.message) == (Stage.USAGE, "cannot use the key `cosign.pub`")


def test_a_folder_without_images_is_no_checkout(tmp_path):
    checkout, machine = Checkout.of(tmp_path), Machine(store=Store(tmp_path / "store"), jobs=1)
    with pytest.raises(HelioError) as caught:
        images.build(checkout, machine, ())
    assert str(caught.value) == (
        f"`{tmp_path}` is not a checkout\n  expected images/*/image.toml, found none\n\n"
        "hint: name a checkout with --root"
    )


def test_nothing_is_tagged_before_it(tmp_path, monkeypatch):
    folder = tmp_path / "images" / "base"
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(IMAGE)
    checkout, machine = Checkout.of(tmp_path), Machine(store=Store(tmp_path / "store"), jobs=1)
    built = SimpleNamespace(
        spec=SimpleNamespace(name="base"),
        locks=SimpleNamespace(epoch=1_700_000_000, digest="sha256:" + "1" * 64),
        parent=None,
    )
    built.image = SimpleNamespace(digest=REFERENCE.partition("@")[2])
    steps: list[str] = []
    machine.__dict__["engine"] = SimpleNamespace(pull=lambda _: steps.append("pull"))
    monkeypatch.setattr(stale, "check", lambda *_, **__: None)
    monkeypatch.setattr(Checkout, "locks_of", lambda *_: {})
    monkeypatch.setattr(images, "build", lambda *_, strict, ready, lenders: ready(built))
    monkeypatch.setattr(release, "connect", lambda *_: contextlib.nullcontext())
    pushed = SimpleNamespace(reference=REFERENCE, bytes_sent=0, seconds=0.0)
    monkeypatch.setattr(release, "push_built", lambda *_: steps.append("push") or pushed)
    monkeypatch.setattr(smoking, "smoke", lambda *_: steps.append("smoke"))
    monkeypatch.setattr(documents, "remember_passed", lambda *_: None)
    monkeypatch.setattr(documents, "attach", lambda *_, **__: steps.append("documents"))
    monkeypatch.setattr(trust, "has_documents", lambda *_: True)
    monkeypatch.setattr(release, "_keep", lambda *_: steps.append("keep"))
    monkeypatch.setattr(trust, "attach", lambda *_, **__: steps.append("sign"))
    monkeypatch.setattr(documents, "unsigned", lambda *_: ())
    monkeypatch.setattr(weights, "attach", lambda *_: steps.append("weight"))
    monkeypatch.setattr(trust, "write_predicates", lambda *_: steps.append("predicates"))
    monkeypatch.setattr(publish, "existing_tags", lambda *_: {})
    monkeypatch.setattr(publish, "promote", lambda *_: steps.append("tag"))
    with pytest.raises(HelioError, match="gets no tag"):
        release.publish(
            checkout,
            machine,
            ("base",),
            PublishOrder(host="registry.example.org", prefix="", out=Path("x"), before_tag="false"),
        )
    assert steps == ["push", "pull", "smoke", "documents", "weight", "sign", "predicates"]
    release.publish(
        checkout,
        machine,
        ("base",),
        PublishOrder(host="registry.example.org", prefix="", out=Path("x"), before_tag="true"),
    )
    assert steps[7:] == ["push", "pull", "smoke", "documents", "weight", "sign", "predicates", "tag", "keep"]
