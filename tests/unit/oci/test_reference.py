from __future__ import annotations

import pytest

from helioimages.core.errors import HelioError
from helioimages.oci.reference import Reference, address_of, is_loopback

D = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("localhost/base", "localhost", "base", "", ""),
        ("localhost:5000/helio/base:2026.11.21-2", "localhost:5000", "helio/base", "2026.11.21-2", ""),
        (f"127.0.0.1:5000/a@{D}", "127.0.0.1:5000", "a", "", D),
        (f"[::1]:5000/a/b/c:latest@{D}", "[::1]:5000", "a/b/c", "latest", D),
        ("registry.example/a__b/c--d/e.f_g:_x", "registry.example", "a__b/c--d/e.f_g", "_x", ""),
        ("HOST/a", "HOST", "a", "", ""),
    ],
)
def test_references_that_are(text, host, repository, tag, digest):
    assert Reference.parse(text) == Reference(host=host, repository=repository, tag=tag, digest=digest)
    assert str(Reference.parse(text)) == text


REGISTRY = "expected a registry before the first /, with a dot or a port, or localhost"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", REGISTRY),
        ("base", REGISTRY),
        ("helio/base", REGISTRY),
        ("localhost:5000", REGISTRY),
        ("-x.y/a", "expected host[:port] not '-x.y'"),
        ("host.:1/a", "expected host[:port] not 'host.:1'"),
        ("host:123456/a", "expected host[:port] not 'host:123456'"),
        ("host.x/A", "expected a lower-case name of at most 255 characters not 'A'"),
        ("host.x/a//b", "expected a lower-case name of at most 255 characters not 'a//b'"),
        ("host.x/a___b", "expected a lower-case name of at most 255 characters not 'a___b'"),
        ("host.x/../b", "expected a lower-case name of at most 255 characters not '../b'"),
        ("host.x/" + "a" * 249, f"expected a lower-case name of at most 255 characters not {'a' * 249!r}"),
        ("host.x/a:", "expected at most 128 of A-Z a-z 0-9 _ . - as a tag not ''"),
        ("host.x/a:-b", "expected at most 128 of A-Z a-z 0-9 _ . - as a tag not '-b'"),
        ("host.x/a:" + "b" * 129, f"expected at most 128 of A-Z a-z 0-9 _ . - as a tag not {'b' * 129!r}"),
        ("host.x/a@sha256:1", "expected sha256:<64 hex digits> after @ not 'sha256:1'"),
        ("host.x/a\n", "expected a lower-case name of at most 255 characters not 'a\\n'"),
    ],
)
def test_references_that_are_not(text, detail):
    with pytest.raises(HelioError) as caught:
        Reference.parse(text)
    assert str(caught.value) == (
        f"`{text}` is not an image reference\n  {detail}\n\nhint: write host[:port]/name[:tag][@digest]"
    )


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:5000"])
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost.evil.example", "128.0.0.1", "127.0.0.1.nip.example", "[::2]:1", "10.0.0.1:5000"]
)
def test_not_this_machine(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("docker.io/debian", "docker.io/library/debian"),
        ("index.docker.io/debian:13", "docker.io/library/debian:13"),
        ("registry-1.docker.io/ada/x", "docker.io/ada/x"),
        ("Docker.io/ada/x", "docker.io/ada/x"),
        ("docker.io/library/debian", "docker.io/library/debian"),
        ("ghcr.io/debian", "ghcr.io/debian"),
    ],
)
def test_dockers_hub_as_docker_reads_it(text, shown):
    assert str(Reference.parse(text)) == shown


def test_where_registries_answer():
    assert address_of("docker.io") == address_of("index.docker.io") == "registry-1.docker.io"
    assert address_of("ghcr.io") == "ghcr.io"
