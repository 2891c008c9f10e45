"""What hangs on an image: registries with the referrers API, with the list under a tag, and with neither."""

from __future__ import annotations

import pytest

from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.oci import referrers_tag
from helioimages.oci.image import Settings, append, artifact
from helioimages.oci.types import Descriptor, Platform

AMD64 = Platform.of("linux/amd64")
IMAGE = append(None, [], Settings(cmd=("/hello",)), platform=AMD64, created_epoch=1_700_000_000)


def test_a_list_whose_documents_are_lost_is_not_taken_for_a_tag_that_may_not_move(faulty, client):
    faulty.referrers_api = False
    client.put_manifest("a/b", IMAGE.digest, IMAGE.manifest_bytes)
    first, second = (
        artifact(IMAGE.descriptor, kind, Descriptor(media_type=kind, digest=of_bytes(kind.encode()), size=len(kind)))
        for kind in ("text/x", "text/y")
    )
    client.attach("a/b", first)
    fault = faulty.Fault("PUT .*manifests/sha256-", "status", times=99, status=400, code="MANIFEST_BLOB_UNKNOWN")
    faulty.faults.append(fault)
    with pytest.raises(HelioError, match="refuses") as caught:
        client.attach("a/b", second)
    assert "MANIFEST_BLOB_UNKNOWN" in caught.value.detail


@pytest.mark.parametrize("status", [400, 403, 405, 409, 412, 422])
def test_a_list_of_documents_that_may_not_move_is_told(faulty, client, status):
    """ECR, Harbor and others can make tags immutable, and `sha256-…` is a tag."""
    faulty.referrers_api, faulty.immutable, faulty.immutable_status = False, "^sha256-", status
    client.put_manifest("a/b", IMAGE.digest, IMAGE.manifest_bytes)
    first, second = (
        artifact(IMAGE.descriptor, kind, Descriptor(media_type=kind, digest=of_bytes(kind.encode()), size=len(kind)))
        for kind in ("text/x", "text/y")
    )
    digest = client.attach("a/b", first)
    with pytest.raises(HelioError) as caught:
        client.attach("a/b", second)
    assert caught.value.message == f"the registry `{faulty.host}` does not let a tag move that lists documents"
    assert caught.value.where == f"{faulty.host}/a/b:{IMAGE.digest.replace(':', '-')}"
    assert caught.value.detail.startswith(f"it has no referrers API, so each document is added to this list\n{status} ")
    assert "exclude `sha256-*` from the registry's immutable tags" in caught.value.hint
    assert client.attach("a/b", first) == digest, "what is listed needs no other list"


def test_a_list_that_others_overwrite_for_ever_is_told(faulty, client, monkeypatch):
    faulty.referrers_api = False
    client.put_manifest("a/b", IMAGE.digest, IMAGE.manifest_bytes)
    monkeypatch.setattr(referrers_tag, "listed", lambda *_: ())
    payload = Descriptor(media_type="x", digest=of_bytes(b"x"), size=1)
    with pytest.raises(HelioError, match="does not keep a document of an image"):
        client.attach("a/b", artifact(IMAGE.descriptor, "x", payload))


@pytest.mark.parametrize("api", [True, False])
def test_referrers_with_the_api_and_without(faulty, client, api):
    faulty.referrers_api = api
    client.put_manifest("a/b", IMAGE.digest, IMAGE.manifest_bytes)
    assert client.referrers("a/b", IMAGE.digest) == ()
    digests = []
    for kind in ("application/spdx+json", "text/html"):
        payload = Descriptor(media_type=kind, digest=of_bytes(kind.encode()), size=len(kind))
        manifest = artifact(IMAGE.descriptor, kind, payload)
        digests.append(client.attach("a/b", manifest))
        client.attach("a/b", manifest)  # again: nothing is listed twice
    assert sorted(referrer.digest for referrer in client.referrers("a/b", IMAGE.digest)) == sorted(digests)
    assert [referrer.digest for referrer in client.referrers("a/b", IMAGE.digest, "text/html")] == digests[1:]
    assert (("a/b", IMAGE.digest.replace(":", "-")) in faulty.manifests) is not api


@pytest.mark.parametrize(("status", "kind"), [(400, ""), (405, ""), (406, ""), (200, "text/html")])
def test_registries_that_never_heard_of_referrers(faulty, client, status, kind):
    faulty.referrers_api = False
    client.put_manifest("a/b", IMAGE.digest, IMAGE.manifest_bytes)
    manifest = artifact(IMAGE.descriptor, "text/html", Descriptor(media_type="x", digest=of_bytes(b"x"), size=1))
    digest = client.attach("a/b", manifest)
    headers = {"Content_Type": kind} if kind else {}
    faulty.faults.append(faulty.Fault("GET .*referrers", "status", status=status, headers=headers))
    assert [referrer.digest for referrer in client.referrers("a/b", IMAGE.digest)] == [digest]
