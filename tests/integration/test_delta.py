"""`delta` on the real base image: locks, what is built of them, and what a registry has are one and the same."""

from __future__ import annotations

import json

import pytest

from helioimages.catalogue import lookup
from helioimages.catalogue.delta import delta
from helioimages.core.errors import HelioError
from helioimages.publish import documents
from helioimages.publish import push as publish

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def side(workspace, text):
    """Look a word up as the verb `delta` does."""
    return lookup.side(workspace.checkout, workspace.store, workspace.registry, text)


def test_locks_the_build_and_the_registry_agree(workspace, built):
    """The plan names every layer by its exact digest and size once it is built, without building."""
    planned = side(workspace, built.spec.name)
    assert [(layer.digest, layer.size) for layer in planned.layers] == [
        (layer.digest, layer.size) for layer in built.image.layers
    ]
    assert all(layer.exact for layer in planned.layers)
    stored = side(workspace, built.image.digest)
    with workspace.registry(None) as client:
        reference = workspace.push(client, built, "").reference
    pushed = side(workspace, reference)
    assert (stored.layers, stored.config) == (pushed.layers, pushed.config)
    for have in (stored, pushed):
        difference = delta(have, planned)
        assert (difference.pull, difference.changes, difference.partial) == ((), (), ())
        assert difference.exact
    short = side(workspace, f"{built.spec.name}@{built.image.digest}")
    assert short.layers == pushed.layers


def test_a_reference_that_is_not_there(workspace, built):
    with workspace.registry(None) as client:
        workspace.push(client, built, "")
        name = f"{client.host}/{built.spec.name}:1999.01.01"
        tags = {tag for tag in client.tags(built.spec.name) if not tag.startswith("sha256-")} or {"none"}
    with pytest.raises(HelioError) as caught:
        side(workspace, name)
    told, _, hint = str(caught.value).partition("\n\nhint: the tags there: ")
    assert told == (
        f"`{name}` is not in the registry\n  in {name.rpartition(':')[0]}\n  expected a manifest under 1999.01.01"
    )
    assert set(hint.split(", ")) == tags


def test_what_is_attached_comes_back(workspace, built, tmp_path):
    """An image in a registry carries its package list and its report, and an unchanged second time adds nothing."""
    (tmp_path / "report.html").write_text("<p>report</p>")
    document = {"version": 1, "reference": f"x/base@{built.image.digest}", "passed": True, "notebooks": []}
    (tmp_path / "report.json").write_text(json.dumps(document))
    repository = "t/attached"
    with workspace.registry(None) as client:
        publish.push_untagged(client, built.image, repository, workspace.store, mount_from=("base",))
        first = documents.attach(client, repository, built, tmp_path, workspace.store)
        before = client.referrers(repository, built.image.digest)
        assert documents.attach(client, repository, built, tmp_path, workspace.store) == first
        assert client.referrers(repository, built.image.digest) == before
        attached = side(workspace, f"{client.host}/{repository}@{built.image.digest}")
    assert {referrer.artifact_type for referrer in before} >= {documents.PACKAGES, documents.SMOKE}
    assert (attached.contents.source, attached.contents.packages) == ("list", documents.of_locks(built.locks).packages)
