"""Which verbs look into caches: those that are asked to, and none that proves something."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_line import main

from helioimages.engines import registry_server
from helioimages.machine import host
from helioimages.make import images
from helioimages.make.machine import Machine
from helioimages.publish import release
from helioimages.smoke import stage as smoking

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call the command up to its first build, and give what that would have worked on."""
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(host, "ensure", lambda: None)
    machines: list[Machine] = []

    def build(checkout, machine, names, **_):
        machines.append(machine)
        return {}

    monkeypatch.setattr(images, "build", build)
    monkeypatch.setattr(release, "_known", lambda *_: {})
    monkeypatch.setattr(smoking, "smoke", lambda *_: pytest.fail("ran"))

    def run(*words: str) -> tuple[Result, Machine | None]:
        machines.clear()
        done = CliRunner().invoke(main, [*words, "--root", str(REPOSITORY)])
        return done, machines[0] if machines else None

    yield run
    # `smoke` pushes to the embedded registry, which outlives it.
    registry_server.stop(tmp_path / "store")


def places(machine: Machine) -> list[str]:
    return [str(cache.place) for cache in machine.caches]


@pytest.mark.parametrize("verb", ["build", "render", "smoke"])
def test_a_cache_that_is_named_is_read(call, verb):
    _, machine = call(verb, "base", "--cache", "h.example.org/a", "--cache", "i.example.org")
    assert places(machine) == ["h.example.org/a/cache", "i.example.org/cache"]
    assert machine.store.travelled


@pytest.mark.parametrize("verb", ["build", "render", "smoke"])
def test_without_one_nothing_that_travelled_counts(call, verb):
    _, machine = call(verb, "base")
    assert (machine.caches, machine.store.travelled) == ((), False)


def test_the_environment_names_caches(call, monkeypatch):
    monkeypatch.setenv("HELIOIMAGES_CACHE", "h.example.org/a i.example.org")
    assert places(call("build", "base")[1]) == ["h.example.org/a/cache", "i.example.org/cache"]


def test_a_check_reads_no_cache_whatever_the_environment_says(call, monkeypatch):
    monkeypatch.setenv("HELIOIMAGES_CACHE", "h.example.org/a")
    _, machine = call("render", "base", "--check")
    assert (machine.caches, machine.store.travelled) == ((), False)
    done, machine = call("render", "base", "--check", "--cache", "h.example.org/a")
    assert (done.exit_code, machine) == (2, None)
    assert "`render --check` reads no cache" in done.stderr


def test_a_publish_reads_the_cache_beside_its_images(call):
    _, machine = call("publish", "base", "--registry", "h.example.org", "--prefix", "team/")
    assert places(machine) == ["h.example.org/team/cache"]


@pytest.mark.parametrize("verb", ["build", "publish", "up", "render", "smoke"])
def test_what_is_not_a_cache_is_told_before_any_work(call, verb):
    done, machine = call(verb, "base", "--cache", "https://h.example.org/a")
    assert (done.exit_code, machine) == (2, None)
    assert "is not a cache" in done.stderr
