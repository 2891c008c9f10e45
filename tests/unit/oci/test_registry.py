"""The registry client against a registry that misbehaves: manifests, blobs and tags."""

from __future__ import annotations

import contextlib
import gzip
import io
import time

import pytest
from faulty_registry import DATA

from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.oci import calls
from helioimages.oci.image import Settings, append
from helioimages.oci.registry import Registry
from helioimages.oci.transport import Credential
from helioimages.oci.types import DOCKER_MANIFEST, INDEX, MANIFEST, Descriptor, ImageIndex, Platform

AMD64 = Platform.of("linux/amd64")
IMAGE = append(None, [], Settings(cmd=("/hello",)), platform=AMD64, created_epoch=1_700_000_000)


def test_a_manifest_comes_back_by_tag_and_by_digest(faulty, client):
    assert client.put_manifest("a/b", IMAGE.digest, IMAGE.manifest_bytes) is False
    assert client.put_manifest("a/b", "v1", IMAGE.manifest_bytes) is False
    expected = Descriptor(media_type=MANIFEST, digest=IMAGE.digest, size=len(IMAGE.manifest_bytes))
    assert client.get_manifest("a/b", "v1") == (expected, IMAGE.manifest_bytes)
    assert client.head_manifest("a/b", IMAGE.digest) == expected
    assert client.head_manifest("a/b", "v2") is None
    assert client.get_manifest("a/c", "v1") is None


def test_head_without_digest_header_falls_back_to_the_body(faulty, client):
    client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)
    faulty.faults.append(faulty.Fault("HEAD .*manifests", "bare"))
    assert client.head_manifest("a/b", "v1").digest == IMAGE.digest
    assert faulty.count("GET .*manifests/v1") == 1


def test_a_manifest_that_is_not_its_digest_is_refused(faulty, client):
    client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)
    faulty.faults.append(faulty.Fault("GET .*manifests", "lie"))
    with pytest.raises(HelioError) as caught:
        client.get_manifest("a/b", IMAGE.digest)
    lie = IMAGE.manifest_bytes.replace(b"1", b"2")
    assert str(caught.value) == (
        f"digest mismatch from the registry `{faulty.host}`\n"
        f"  in a/b:{IMAGE.digest}\n"
        f"  expected {IMAGE.digest} not {of_bytes(lie)} ({len(lie):,} bytes read)\n\n"
        "hint: the registry or something before it changes what it stores; do not use this image"
    )


def test_an_answer_without_end_is_cut(faulty, client):
    faulty.faults.append(faulty.Fault("GET .*manifests", "endless"))
    with pytest.raises(HelioError) as caught:
        client.get_manifest("a/b", "v1")
    assert str(caught.value) == (
        f"the registry `{faulty.host}` sends too much\n"
        f"  in GET http://{faulty.host}/v2/a/b/manifests/v1\n"
        "  expected at most 4,194,304 bytes"
    )


def test_a_registry_that_stores_other_bytes_is_caught(faulty, client):
    faulty.faults.append(faulty.Fault("PUT .*manifests", "lie"))
    with pytest.raises(HelioError, match="digest mismatch from the registry"):
        client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)


def test_get_image_through_an_index_picks_the_platform(faulty, client):
    faulty.put("a/b", IMAGE.config_bytes)
    client.put_manifest("a/b", IMAGE.digest, IMAGE.manifest_bytes)
    index = ImageIndex(manifests=(IMAGE.descriptor,)).dump()
    client.put_manifest("a/b", "latest", index, INDEX)
    assert client.get_image("a/b", "latest", AMD64) == IMAGE
    assert client.get_image("a/b", "nope", AMD64) is None
    with pytest.raises(HelioError) as caught:
        client.get_image("a/b", "latest", Platform.of("linux/arm64"))
    assert str(caught.value) == f"`{faulty.host}/a/b:latest` has no image for linux/arm64\n  it has linux/amd64"


def test_a_docker_manifest_is_read(faulty, client):
    faulty.put("a/b", IMAGE.config_bytes)
    data = IMAGE.manifest_bytes.replace(MANIFEST.encode(), DOCKER_MANIFEST.encode())
    client.put_manifest("a/b", "docker", data, DOCKER_MANIFEST)
    image = client.get_image("a/b", "docker", AMD64)
    assert image.manifest_bytes == data
    assert image.config == IMAGE.config


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_faults_are_tried_again(faulty, client, pauses, status):
    faulty.faults.append(faulty.Fault("PUT .*manifests", "status", times=2, status=status))
    client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)
    assert faulty.count("PUT .*manifests") == 3
    assert pauses == [0.25, 0.5]


def test_retry_after_is_honoured(faulty, client, pauses):
    faulty.faults.append(faulty.Fault("GET .*tags", "status", status=429, headers={"Retry_After": "7"}))
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    faulty.faults.append(faulty.Fault("GET .*tags", "status", status=503, headers={"Retry_After": date}))
    faulty.faults.append(faulty.Fault("GET .*tags", "status", status=503, headers={"Retry_After": "100000"}))
    assert client.tags("a/b") == ()
    assert pauses[0] == 7
    assert 25 < pauses[1] <= 30
    assert pauses[2] == 60


def test_a_fault_that_stays_is_told_with_the_registrys_words(faulty, client):
    faulty.faults.append(faulty.Fault("GET .*tags", "status", times=99, status=503))
    with pytest.raises(HelioError) as caught:
        client.tags("a/b")
    assert str(caught.value) == (
        f"the registry `{faulty.host}` does not answer\n"
        f"  in GET http://{faulty.host}/v2/a/b/tags/list\n"
        "  503 Service Unavailable (OOPS: not today) (4 tries)\n\n"
        "hint: try again later; what was sent stays sent"
    )


@pytest.mark.parametrize("times", [9, 10])
def test_a_manifest_waits_for_what_another_publisher_writes_again(faulty, client, pauses, times):
    """Registries on a file system empty the file for a moment; on a busy disk for many seconds."""
    fault = faulty.Fault("PUT .*manifests", "status", times=times, status=400, code="MANIFEST_BLOB_UNKNOWN")
    faulty.faults.append(fault)
    with pytest.raises(HelioError, match="refuses") if times == 10 else contextlib.nullcontext():
        client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0, 8.0]


def test_a_refusal_is_not_tried_again(faulty, client, pauses):
    faulty.faults.append(faulty.Fault("PUT .*manifests", "status", status=403))
    with pytest.raises(HelioError) as caught:
        client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)
    assert str(caught.value) == (
        f"the registry `{faulty.host}` refuses\n"
        f"  in PUT http://{faulty.host}/v2/a/b/manifests/v1\n"
        "  403 Forbidden (OOPS: not today)\n\n"
        f"hint: ask for the right to do this, or log in with `docker login {faulty.host}`"
    )
    assert pauses == []


def test_a_dropped_connection_is_tried_again(faulty, client):
    faulty.faults.append(faulty.Fault("HEAD .*blobs", "drop", times=2))
    assert client.has_blob("a/b", of_bytes(b"x")) is False
    assert faulty.count("HEAD .*blobs") == 3


def test_nothing_there(pauses):
    with Registry("127.0.0.1:1", pause=pauses, tries=2) as client, pytest.raises(HelioError) as caught:
        client.ping()
    assert caught.value.message == "no registry answers at `127.0.0.1:1`"
    assert caught.value.where == "http://127.0.0.1:1/v2/ and https://127.0.0.1:1/v2/"
    assert "ConnectionRefusedError" in caught.value.detail


def test_plain_http_is_for_loopback_only(pauses):
    # 192.0.2.0/24 is reserved for documentation: nothing is ever there.
    with Registry("registry.invalid:5000", pause=pauses, tries=1) as client, pytest.raises(HelioError) as caught:
        client.ping()
    assert caught.value.where == "https://registry.invalid:5000/v2/"


# -- blobs -------------------------------------------------------------------------------------------------------------


def test_a_blob_is_pulled_whole(faulty, client):
    descriptor = Descriptor(media_type="x", digest=faulty.put("a/b", DATA), size=len(DATA))
    out = io.BytesIO()
    client.pull_blob("a/b", descriptor, out)
    assert out.getvalue() == DATA


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_goes_on(faulty, client, ranges):
    faulty.ranges = ranges
    data = DATA * 4
    descriptor = Descriptor(media_type="x", digest=faulty.put("a/b", data), size=len(data))
    faulty.faults.append(faulty.Fault("GET .*blobs", "truncate", times=2 if ranges else 1))
    out = io.BytesIO()
    client.pull_blob("a/b", descriptor, out)
    assert out.getvalue() == data
    wanted = [headers.get("Range") for line, headers in faulty.seen_headers if line.startswith("GET /v2/a/b/blobs")]
    assert wanted[:2] == [None, "bytes=256000-"]


def test_a_blob_that_is_not_its_digest_is_refused(faulty, client):
    descriptor = Descriptor(media_type="x", digest=faulty.put("a/b", DATA), size=len(DATA))
    faulty.faults.append(faulty.Fault("GET .*blobs", "lie", times=9))
    with pytest.raises(HelioError) as caught:
        client.pull_blob("a/b", descriptor, io.BytesIO())
    assert caught.value.detail == (
        f"expected {descriptor.digest} not {of_bytes(bytes(len(DATA)))} ({len(DATA):,} bytes read)"
    )
    with pytest.raises(HelioError, match="digest mismatch from the registry"):
        client.get_bytes("a/b", descriptor)


def test_a_small_blob_goes_in_one_request(faulty, client, tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"small")
    descriptor = Descriptor(media_type="x", digest=of_bytes(b"small"), size=5)
    assert client.push_blob("a/b", descriptor, path) == "sent"
    assert client.push_blob("a/b", descriptor, path) == "present"
    assert (faulty.count("POST"), faulty.count("PATCH"), faulty.count("PUT")) == (1, 0, 1)
    assert faulty.blobs[descriptor.digest] == b"small"


def test_a_large_blob_goes_in_chunks(faulty, client, blob):
    path, descriptor = blob
    sent = []
    assert client.push_blob("a/b", descriptor, path, advance=sent.append) == "sent"
    assert (faulty.count("PATCH"), faulty.count("PUT")) == (2, 1)
    assert faulty.blobs[descriptor.digest] == DATA
    assert sum(sent) == len(DATA)


def test_a_dropped_chunk_resumes_where_it_broke(faulty, client, blob):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("PATCH", "drop", after=20_000))
    sent = []
    assert client.push_blob("a/b", descriptor, path, advance=sent.append) == "sent"
    assert faulty.blobs[descriptor.digest] == DATA
    ranges = [headers["Content-Range"] for line, headers in faulty.seen_headers if line.startswith("PATCH")]
    assert ranges == ["0-49999", "20000-69999", "70000-119999"]
    assert faulty.count("POST") == 1
    assert sum(sent) == len(DATA)


def test_a_dropped_last_chunk_resumes(faulty, client, blob):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("PUT", "drop", after=5_000))
    assert client.push_blob("a/b", descriptor, path) == "sent"
    assert faulty.blobs[descriptor.digest] == DATA
    assert faulty.count("POST") == 1


def test_a_lost_answer_is_noticed(faulty, client, blob):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("PUT", "lost answer"))
    assert client.push_blob("a/b", descriptor, path) == "sent"
    assert faulty.count("PUT") == 1


def test_an_upload_the_registry_forgot_begins_again(faulty, client, blob):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("PATCH", "status", status=404))
    faulty.faults.append(faulty.Fault("GET .*uploads", "status", status=404))
    sent = []
    assert client.push_blob("a/b", descriptor, path, advance=sent.append) == "sent"
    assert faulty.count("POST") == 2
    assert sum(sent) == len(DATA)


def test_a_line_that_always_breaks_ends_in_an_error(faulty, client, blob, pauses):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("PATCH|PUT", "drop", times=99))
    with pytest.raises(HelioError) as caught:
        client.push_blob("a/b", descriptor, path)
    assert caught.value.message == f"the registry `{faulty.host}` does not answer"
    assert faulty.count("PATCH") == 4


def test_a_line_that_breaks_often_brings_a_blob_as_long_as_it_gets_further(faulty, client, blob):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("PATCH", "drop", after=10_000, times=5))
    assert client.push_blob("a/b", descriptor, path) == "sent"
    assert faulty.blobs[descriptor.digest] == DATA
    # More than the four tries that are allowed without progress.
    assert faulty.count("PATCH") > 5


def test_a_damaged_file_is_named_and_not_sent_again(faulty, client, tmp_path):
    path = tmp_path / "bad"
    path.write_bytes(b"bytes that rotted")
    descriptor = Descriptor(media_type="x", digest=of_bytes(b"bytes that stayed"), size=17)
    with pytest.raises(HelioError) as caught:
        client.push_blob("a/b", descriptor, path)
    assert str(caught.value) == (
        "a blob of the store is damaged\n"
        f"  expected {descriptor.digest} not {of_bytes(b'bytes that rotted')}\n\n"
        "hint: remove the file and run `buildimages build` again"
    )
    assert faulty.count("PUT") == 1


def test_mounting_costs_no_bytes(faulty, client, blob):
    path, descriptor = blob
    faulty.put("parent", DATA)
    sent = []
    done = client.push_blob("child", descriptor, path, mount_from=("child", "other", "parent"), advance=sent.append)
    assert done == "mounted"
    assert sent == []
    assert faulty.uploads == {}, "the upload that a failed mount opened is cancelled"
    assert faulty.count("PUT|PATCH") == 0


def test_a_mount_that_fails_becomes_an_upload(faulty, client, blob):
    path, descriptor = blob
    assert client.push_blob("child", descriptor, path, mount_from=("parent",)) == "sent"
    assert faulty.count("POST") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 415, 429, 500, 502, 503, 504, 307])
def test_a_mount_that_is_refused_becomes_an_upload(faulty, client, blob, status):
    path, descriptor = blob
    faulty.put("parent", DATA)
    faulty.faults.append(faulty.Fault("POST .*mount=", "status", status=status, times=9))
    assert client.push_blob("child", descriptor, path, mount_from=("parent",)) == "sent"
    assert faulty.blobs[descriptor.digest] == DATA


@pytest.mark.parametrize("kind", ["drop", "status"])
def test_a_mount_without_an_answer_becomes_an_upload(faulty, client, blob, kind):
    path, descriptor = blob
    # 202, and no word of where the upload is.
    faulty.faults.append(faulty.Fault("POST .*mount=", kind, status=202))
    assert client.push_blob("child", descriptor, path, mount_from=("parent",)) == "sent"


def test_who_refuses_mounts_is_not_asked_for_each_blob(faulty, client, tmp_path):
    faulty.faults.append(faulty.Fault("POST .*from=secret", "status", status=403, times=9))
    for number in range(3):
        (tmp_path / "blob").write_bytes(b"%d" % number)
        digest = faulty.put("parent", b"%d" % number)
        descriptor = Descriptor(media_type="x", digest=digest, size=1)
        assert client.push_blob("child", descriptor, tmp_path / "blob", mount_from=("secret", "parent")) == "mounted"
    assert faulty.count("from=secret") == 1
    assert faulty.count("from=parent") == 3


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_token_server_that_does_not_let_us_read_the_parent(faulty, pauses, blob, status):
    path, descriptor = blob
    faulty.put("parent", DATA)
    faulty.auth, faulty.users, faulty.strict = "bearer", {"ada": "s3cret"}, True
    faulty.denied, faulty.denied_status = "parent", status
    login = Credential(username="ada", secret="s3cret")
    with Registry(faulty.host, credentials=lambda _: login, pause=pauses) as client:
        assert client.push_blob("child", descriptor, path, mount_from=("parent",), missing=True) == "sent"
    assert faulty.count("mount=") == 0


@pytest.mark.parametrize("denied", ["", "pull,push"])
def test_who_may_only_read_sees_that_all_is_there(faulty, pauses, denied):
    faulty.auth, faulty.users, faulty.strict = "bearer", {"ada": "s3cret"}, True
    faulty.manifests["a/b", "v1"] = (MANIFEST, IMAGE.manifest_bytes)
    faulty.denied = denied
    login = Credential(username="ada", secret="s3cret")
    with Registry(faulty.host, credentials=lambda _: login, pause=pauses) as client:
        client.expect_push("a/b")
        assert client.head_manifest("a/b", "v1").digest == IMAGE.digest
        if denied:
            with pytest.raises(HelioError, match="gives no token"):
                client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)


def test_an_upload_without_a_place_is_refused(faulty, client, blob):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("POST", "status", status=202))
    with pytest.raises(HelioError) as caught:
        client.push_blob("a/b", descriptor, path)
    assert str(caught.value) == (
        f"the registry `{faulty.host}` opens an upload and does not say where\n"
        f"  in POST http://{faulty.host}/v2/a/b/blobs/uploads/\n"
        "  expected the header Location"
    )


def test_an_upload_waits_as_long_as_it_is_asked(faulty, client, blob, pauses):
    path, descriptor = blob
    faulty.faults.append(faulty.Fault("PATCH", "status", status=429, headers={"Retry_After": "30"}))
    assert client.push_blob("a/b", descriptor, path) == "sent"
    assert pauses[0] == 30


def test_a_download_that_never_ends_says_so(faulty, client):
    descriptor = Descriptor(media_type="x", digest=faulty.put("a/b", DATA), size=len(DATA))
    faulty.ranges = False
    faulty.faults.append(faulty.Fault("GET .*blobs", "truncate", times=9))
    with pytest.raises(HelioError) as caught:
        client.pull_blob("a/b", descriptor, io.BytesIO())
    assert caught.value.message == f"the registry `{faulty.host}` does not send the whole of a blob"


# -- tags --------------------------------------------------------------------------------------------------------------


def test_tags_of_many_pages(faulty, client):
    faulty.page = 2
    for tag in ("c", "a", "b", "e", "d"):
        client.put_manifest("a/b", tag, IMAGE.manifest_bytes)
    assert client.tags("a/b") == ("a", "b", "c", "d", "e")
    assert faulty.count("GET .*tags") == 3
    assert client.tags("no/such") == ()


def test_a_next_page_at_another_host_is_refused(faulty, client):
    faulty.page, faulty.next_host = 1, "http://127.0.0.2:9"
    for tag in ("a", "b"):
        client.put_manifest("a/b", tag, IMAGE.manifest_bytes)
    with pytest.raises(HelioError) as caught:
        client.tags("a/b")
    assert caught.value.detail == f"expected {faulty.host} not 127.0.0.2:9"


def test_pages_that_lead_to_themselves_end(faulty, client):
    client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)
    link = {"Link": '</v2/a/b/tags/list?page=2>; rel="next"', "Content_Type": "application/json"}
    faulty.faults.append(faulty.Fault("GET .*tags|page=2", "status", times=9, status=200, headers=link))
    with pytest.raises(HelioError) as caught:
        client.tags("a/b")
    assert str(caught.value) == (
        f"the registry `{faulty.host}` does not end a list\n"
        f"  in a/b: http://{faulty.host}/v2/a/b/tags/list\n"
        "  expected another page, not one that was read\n\n"
        "hint: ask whoever runs it; what was read so far is not all of the list"
    )
    assert faulty.count("page=2") == 1


def test_a_list_of_too_many_pages_is_not_taken_for_all_of_it(faulty, client, monkeypatch):
    monkeypatch.setattr(calls, "_MOST_PAGES", 2)
    faulty.page = 1
    for tag in ("a", "b", "c"):
        client.put_manifest("a/b", tag, IMAGE.manifest_bytes)
    with pytest.raises(HelioError) as caught:
        client.tags("a/b")
    assert caught.value.detail == "expected at most 2 pages"


@pytest.mark.parametrize("kind", ["coded", "squeezed"])
def test_a_blob_is_taken_as_it_is_stored(faulty, client, kind):
    """A layer is a gzip file: `Content-Encoding: gzip` says of it what it is. Some proxies squeeze unasked."""
    data = gzip.compress(DATA, mtime=0)
    descriptor = Descriptor(media_type="x", digest=faulty.put("a/b", data), size=len(data))
    faulty.faults.append(faulty.Fault("GET .*blobs", kind, times=2))
    out = io.BytesIO()
    client.pull_blob("a/b", descriptor, out)
    assert out.getvalue() == data
    assert client.get_bytes("a/b", descriptor) == data


def test_a_document_that_is_too_large_is_not_asked_for(faulty, client):
    with pytest.raises(HelioError) as caught:
        client.get_bytes("a/b", Descriptor(media_type="x", digest=of_bytes(b""), size=(4 << 20) + 1))
    assert caught.value.detail == "expected at most 4,194,304 bytes not 4,194,305"
    assert faulty.count("blobs") == 0
