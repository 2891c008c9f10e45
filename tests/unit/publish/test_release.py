"""`publish` of several images: each is announced when it is published, and one that fails keeps the others' results."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.engines import engine
from helioimages.locks import stale
from helioimages.locks.checkout import Checkout
from helioimages.machine.store import Store
from helioimages.make import images
from helioimages.make.machine import Machine
from helioimages.publish import attach, documents, push, release, weights
from helioimages.publish.release import PublishOrder

NAMES = ("base", "child", "other")
IMAGE = 'name = "{0}"\ntitle = "T"\ndescription = "D"\nenvironment = "e"\n'


def built(name: str) -> SimpleNamespace:
    return SimpleNamespace(
        spec=SimpleNamespace(name=name),
        locks=SimpleNamespace(epoch=1_700_000_000, digest="sha256:" + "1" * 64),
        image=SimpleNamespace(digest=f"sha256:{name}"),
        line=(),
        parent=None if name == "base" else built("base"),
    )


class Run:
    """A publication in which everything that touches a machine is written down."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in NAMES:
            folder = tmp_path / "images" / name
            folder.mkdir(parents=True)
            (folder / "image.toml").write_text(IMAGE.format(name))
        self.steps: list[str] = []
        self.failing: dict[str, str] = {}
        self.announced: list[str] = []
        self.checkout = Checkout.of(tmp_path)
        self.store = Store(tmp_path / "store")
        self.have(jobs=8)
        monkeypatch.setattr(stale, "check", lambda *_, **__: None)
        monkeypatch.setattr(Checkout, "locks_of", lambda *_: {})
        monkeypatch.setattr(images, "build", self.build)
        monkeypatch.setattr(release, "connect", lambda *_: contextlib.nullcontext(SimpleNamespace(host="here")))
        monkeypatch.setattr(release, "push_built", self.push)
        monkeypatch.setattr(release.smoking, "smoke", self.smoke)
        for where, name in (
            (documents, "remember_passed"),
            (documents, "attach"),
            (weights, "attach"),
            (attach, "attach"),
        ):
            monkeypatch.setattr(where, name, lambda *_, **__: None)
        monkeypatch.setattr(attach, "has_documents", lambda *_: True)
        monkeypatch.setattr(push, "existing_tags", lambda *_: {})
        monkeypatch.setattr(push, "promote", lambda client, repository, *_: self.steps.append(f"tag {repository}"))

    def have(self, *, jobs: int) -> None:
        """Publish on a machine with so many processors."""
        self.machine = Machine(store=self.store, jobs=jobs)
        self.machine.__dict__["engine"] = SimpleNamespace(pull=self.pull, abandon=lambda: None)

    def build(self, checkout, machine, names, *, strict, ready, lenders) -> None:
        for name in names:
            self.fail("build", name, Stage.BUILD)
            ready(built(name))

    def push(self, client, machine, image, prefix) -> SimpleNamespace:
        self.fail("push", image.spec.name, Stage.PUBLISH)
        return SimpleNamespace(reference=f"here/{image.spec.name}", bytes_sent=1, seconds=0.0)

    def pull(self, reference: str) -> None:
        self.fail("pull", reference.removeprefix("here/"), Stage.ENGINE)

    def smoke(self, checkout, machine, image, *_) -> None:
        self.fail("smoke", image.spec.name, Stage.SMOKE)

    def fail(self, step: str, name: str, stage: Stage) -> None:
        self.steps.append(f"{step} {name}")
        if self.failing.get(name) == step:
            raise HelioError(stage, f"{step} of `{name}` failed", where=name)

    def publish(self) -> tuple[release.Published, ...]:
        order = PublishOrder(host=None, prefix="", out=Path("out"), reuse=False)
        return release.publish(
            self.checkout, self.machine, NAMES, order, lambda image: self.announced.append(image.image)
        )


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_every_image_is_announced_when_it_is_published(run):
    assert [image.image for image in run.publish()] == list(NAMES)
    assert run.announced == list(NAMES)
    for name in NAMES:
        of_it = [step for step in run.steps if step.endswith(f" {name}")]
        assert of_it == [f"{step} {name}" for step in ("build", "push", "pull", "smoke", "tag")]


@pytest.mark.parametrize(("step", "stage"), [("smoke", Stage.SMOKE), ("pull", Stage.ENGINE), ("push", Stage.PUBLISH)])
def test_one_that_fails_has_no_tag_and_the_others_have_theirs(run, step, stage):
    run.failing = {"child": step}
    with pytest.raises(HelioError) as caught:
        run.publish()
    assert (caught.value.stage, caught.value.message) == (stage, f"{step} of `child` failed")
    assert run.announced == ["base", "other"]
    assert [text for text in run.steps if text.startswith("tag")] == ["tag base", "tag other"]


def test_what_was_built_before_a_build_failed_is_published(run):
    run.failing = {"child": "build"}
    with pytest.raises(HelioError) as caught:
        run.publish()
    assert caught.value.stage is Stage.BUILD
    assert run.announced == ["base"]
    assert "build other" not in run.steps


def test_two_that_fail_are_both_told(run):
    run.failing = {"base": "smoke", "other": "push"}
    with pytest.raises(HelioError) as caught:
        run.publish()
    assert (caught.value.stage, caught.value.where) == (Stage.SMOKE, "base")
    assert caught.value.detail == "and: push of `other` failed (other)"


@pytest.mark.parametrize("failing", [None, "push", "pull", "smoke"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_with_few_processors_what_others_stand_on_is_done_before_they_are_made(run, jobs, failing):
    run.have(jobs=jobs)
    run.failing = {"base": failing} if failing else {}
    with pytest.raises(HelioError, match="of `base` failed") if failing else contextlib.nullcontext():
        run.publish()
    of_base = [step for step in run.steps if step.endswith(" base")]
    assert of_base[-1] == (f"{failing} base" if failing else "tag base")
    assert run.steps[: len(of_base)] == of_base
    assert run.announced == [name for name in NAMES if name not in run.failing]


def test_the_engine_pulls_an_image_while_notebooks_of_the_one_before_run(run, monkeypatch):
    pulled = threading.Event()

    def smoke(checkout, machine, image, *_) -> None:
        assert image.spec.name != "base" or pulled.wait(30), "the pull waited"

    def pull(reference: str) -> None:
        if reference == "here/child":
            pulled.set()

    monkeypatch.setattr(release.smoking, "smoke", smoke)
    run.machine.__dict__["engine"].pull = pull
    run.publish()
    assert run.announced == list(NAMES)


def test_threads_that_ask_at_once_have_one_engine(tmp_path, monkeypatch):
    machine, made, start = Machine(store=Store(tmp_path), jobs=1), [], threading.Barrier(4)

    def connect(*_: object) -> SimpleNamespace:
        made.append(SimpleNamespace(abandon=lambda: made.append("abandoned")))
        return made[-1]

    monkeypatch.setattr(engine, "connect", connect)
    machine.abandon()
    assert made == []
    engines = []

    def ask() -> None:
        start.wait(30)
        engines.append(machine.engine)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert all(engine is made[0] for engine in engines)
    machine.abandon()
    assert made[1:] == ["abandoned"]
