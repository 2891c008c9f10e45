"""An index and a registry on their bad days: what they did wrong never stays."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from faultkit import once, proxy
from faultkit.checks import checkout_faults, registry_faults, store_faults
from faultkit.kills import registry
from faultkit.world import release

from helioimages.core.errors import HelioError
from helioimages.oci.registry import Registry
from helioimages.oci.transport import Credential

WHEEL = "part1-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def built(world, tmp_path_factory):
    """The images in a warm store, to be published again and again."""
    with pytest.MonkeyPatch.context() as patch:
        site = world.fresh(tmp_path_factory.mktemp("published") / "site")
        for name, value in site.environment.items():
            patch.setenv(name, value)
        yield site.build()


def publish(built, host: str, *, tries: int = 3, **options) -> dict:
    ws, images, _ = built
    with Registry(host, pause=lambda _seconds: None, tries=tries, chunk=1 << 20, **options) as client:
        return {name: release(ws, client, image, key_of(ws)) for name, image in images.items()}


def key_of(ws) -> Path:
    return ws.root.parent / "cosign.key"


@pytest.mark.parametrize("token_uses", [0, 3], ids=["open", "tokens that expire"])
def test_a_registry_that_fails_at_random(built, tmp_path, expected, request, token_uses):
    """Every attempt either says what is wrong or has published everything; no attempt leaves a half tag."""
    seed, injected, expired, attempts = request.config.getoption("--seed"), 0, 0, 0
    kinds = set()
    for number in range(10 if request.config.getoption("--long") else 1):
        with (
            registry(tmp_path / f"registry{number}") as host,
            proxy.before(host, seed=seed * 100 + number, rate=0.3, token_uses=token_uses) as broken,
        ):
            for _attempt in range(60):
                attempts += 1
                with contextlib.suppress(HelioError):
                    tags = publish(built, broken.host, credentials=lambda _host: Credential(username="u", secret="p"))
                    assert tags == expected["tags"]
                    break
                assert registry_faults(host, expected) == []
                broken.rate *= 0.9
            else:
                pytest.fail("60 attempts did not publish")
            assert registry_faults(host, expected) == []
            assert publish(built, host) == expected["tags"]
            assert registry_faults(host, expected, key=key_of(built[0]).with_suffix(".pub")) == []
        injected += broken.injected.total()
        expired += broken.expired
        kinds |= set(broken.injected)
    assert injected > 5 and len(kinds) >= 3 and bool(expired) == bool(token_uses)
    print(json.dumps({"faults": injected, "expired tokens": expired, "attempts": attempts, "kinds": sorted(kinds)}))


@pytest.mark.parametrize("kind", ["429", "500", "503", "drop before", "lost answer", "truncate"])
def test_a_fault_that_passes_is_not_noticed(built, host, expected, kind):
    with proxy.before(host, seed=1, rate=0.15, kinds=(kind,)) as broken:
        tags = publish(built, broken.host, tries=6)
    assert tags == expected["tags"]
    assert broken.injected.total() > 0


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", marks=LONG),
        pytest.param(b"<html>please log in</html>", marks=LONG),
        pytest.param("short", marks=LONG),
        "flipped",
        pytest.param("long", marks=LONG),
    ],
)
def test_an_index_that_serves_other_bytes(world, index, site, host, expected, bad):
    good = index.files[WHEEL]
    page = dict(index.files)
    wrong = {"short": good[:-10], "flipped": good[:-1] + b"!", "long": good + b"more"}.get(bad, bad)
    # The page keeps the right digest: the server of the files lies, not the index.
    index.lies[WHEEL] = wrong
    try:
        code, _, said = once.outcome(once.spawn(site, host))
    finally:
        del index.lies[WHEEL]
    assert index.files == page
    assert code in (4, 5), said
    assert WHEEL in said or "part1" in said
    assert store_faults(site.store) == [] and checkout_faults(site, expected) == []
    code, result, said = once.outcome(once.spawn(site, host))
    assert (code, result) == (0, expected), said


@pytest.mark.parametrize(
    "page",
    [
        b"<html>please log in</html>",
        pytest.param(b'{"files": 3}', marks=LONG),
        pytest.param(b"{", marks=LONG),
        pytest.param(b'{"files": [{"filename": 1}]}', marks=LONG),
        pytest.param(b"\xff\xfe", marks=LONG),
    ],
)
def test_an_index_that_serves_another_page(index, site, host, expected, page):
    index.pages["part1"] = page
    try:
        code, _, said = once.outcome(once.spawn(site, host))
    finally:
        del index.pages["part1"]
    assert code in (4, 5), said
    assert store_faults(site.store) == [] and checkout_faults(site, expected) == []
    code, result, said = once.outcome(once.spawn(site, host))
    assert (code, result) == (0, expected), said
