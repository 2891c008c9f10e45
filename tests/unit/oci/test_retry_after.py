"""Whoever asks a registry waits as long as it says: one policy, `core.http.Tries`, of all that asks."""

from __future__ import annotations

import io

import pytest
from faulty_registry import DATA

from helioimages.oci.registry import Registry
from helioimages.oci.transport import Credential
from helioimages.oci.types import Descriptor


def say_later(faulty, what: str) -> None:
    """Let the next request be answered that it comes too early."""
    faulty.faults.append(faulty.Fault(what, "status", status=429, headers={"Retry_After": "7"}))


def pull(client: Registry, digest: str) -> None:
    out = io.BytesIO()
    client.pull_blob("a/b", Descriptor(media_type="x", digest=digest, size=len(DATA)), out)
    assert out.getvalue() == DATA


@pytest.mark.parametrize(
    ("what", "auth"),
    [("GET .*/v2/$", ""), ("GET .*/token", "bearer"), ("GET .*/tags", ""), ("GET .*/blobs/", "")],
    ids=["whether it is there", "a token", "a question", "a blob"],
)
def test_a_registry_is_left_alone_as_long_as_it_asks(faulty, pauses, what, auth):
    digest = faulty.put("a/b", DATA)
    faulty.auth, faulty.users = auth, {"ada": "s3cret"} if auth else {}
    say_later(faulty, what)
    login = Credential(username="ada", secret="s3cret") if auth else None
    with Registry(faulty.host, credentials=lambda *_: login, pause=pauses) as client:
        client.tags("a/b")
        pull(client, digest)
    assert faulty.faults == [] or faulty.faults[0].times == 0
    assert pauses == [7]


def test_a_blob_that_broke_off_goes_on_after_the_pause_that_is_asked_for(faulty, pauses):
    digest = faulty.put("a/b", DATA)
    faulty.faults.append(faulty.Fault("GET .*/blobs/", "truncate"))
    say_later(faulty, "GET .*/blobs/")
    with Registry(faulty.host, pause=pauses) as client:
        pull(client, digest)
    assert pauses == [0.25, 7]
