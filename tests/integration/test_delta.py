"""`delta` on the real base image: locks, what is built of them, and what a registry has are one and the same."""

from __future__ import annotations

import pytest

from helioimages import sides
from helioimages.delta import delta
from helioimages.errors import HelioError

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def test_locks_the_build_and_the_registry_agree(workspace, built):
    """The plan names every layer by its exact digest and size once it is built, without building."""
    planned = sides.side(workspace, built.spec.name)
    assert [(one.digest, one.size) for one in planned.layers] == [(one.digest, one.size) for one in built.image.layers]
    assert all(one.exact for one in planned.layers)
    stored = sides.side(workspace, built.image.digest)
    with workspace.registry(None) as client:
        reference = workspace.push(client, built, "").reference
    pushed = sides.side(workspace, reference)
    assert (stored.layers, stored.config) == (pushed.layers, pushed.config)
    for one in (stored, pushed):
        found = delta(one, planned)
        assert (found.pull, found.changes, found.partial) == ((), (), ())
        assert found.exact
    short = sides.side(workspace, f"{built.spec.name}@{built.image.digest}")
    assert short.layers == pushed.layers


def test_a_reference_that_is_not_there(workspace, built):
    with workspace.registry(None) as client:
        workspace.push(client, built, "")
        name = f"{client.host}/{built.spec.name}:1999.01.01"
        tags = ", ".join(client.tags(built.spec.name)) or "none"
    with pytest.raises(HelioError) as caught:
        sides.side(workspace, name)
    assert str(caught.value) == (
        f"`{name}` is not in the registry\n  in {name.rpartition(':')[0]}\n  expected a manifest under 1999.01.01\n\n"
        f"hint: the tags there: {tags}"
    )
