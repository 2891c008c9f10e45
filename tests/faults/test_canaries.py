"""Secrets of the machine stay there: none is in a layer, a config, a label, a log, a lock or the registry.

Nor in SBOMs, provenance, signatures, the catalogue or a hub's profiles.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from faultkit import once, proxy
from faultkit.world import Site

CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws-5f1e9c",
    "GITHUB_TOKEN": "canary-github-77ab20",
    "UV_INDEX_LOCAL_PASSWORD": "canary-uv-19d4c3",
    "HTTP_PROXY_PASSWORD": "canary-proxy-6602fe",
    "JUPYTERHUB_API_TOKEN": "canary-hub-8d11aa",
}
DOCKER, INDEX = "canary-docker-0c9f31", "canary-index-e45d07"


@pytest.fixture
def secretive(site: Site, world) -> Site:
    """A site whose environment, Docker config, .netrc and index address hold secrets."""
    (site.folder / ".docker").mkdir()
    log_in(site, "ghcr.io")
    (site.folder / ".netrc").write_text(f"machine 127.0.0.1 login robot password {DOCKER}\n")
    (site.folder / ".netrc").chmod(0o600)
    address = world.url.replace("http://", f"http://robot:{INDEX}@")
    site.environment |= CANARIES | {"UV_DEFAULT_INDEX": address, "DOCKER_CONFIG": str(site.folder / ".docker")}
    return site


def log_in(site: Site, host: str) -> None:
    auth = base64.b64encode(f"robot:{DOCKER}".encode()).decode()
    (site.folder / ".docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def secrets() -> dict[str, bytes]:
    plain = {**CANARIES, "docker": DOCKER, "index": INDEX}
    coded = {f"{name} as base64": base64.b64encode(f"robot:{text}".encode()).decode() for name, text in plain.items()}
    return {name: text.encode() for name, text in (plain | coded).items()}


def inflated(data: bytes) -> bytes:
    """Return what is in a gzip file of any number of members; other data as they are."""
    out = b""
    while data[:2] == b"\x1f\x8b":
        inflater = zlib.decompressobj(31)
        out += inflater.decompress(data) + inflater.flush()
        data = inflater.unused_data
    return out + data


def leaks(folder: Path, but: tuple[Path, ...] = ()) -> list[str]:
    told = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(path.is_relative_to(excluded) for excluded in but):
            continue
        held = path.read_bytes()
        for data in (held, inflated(held)):
            told += [f"{name} in {path.relative_to(folder)}" for name, secret in secrets().items() if secret in data]
    return told


def test_no_secret_leaves_the_machine(secretive, tmp_path, host, expected):
    with proxy.before(host, seed=1, rate=0, token_uses=5) as asking:
        log_in(secretive, asking.host)
        code, result, said = once.outcome(once.spawn(secretive, asking.host))
        assert (code, result) == (0, expected), said
        said += offered(secretive, asking.host)
    # It was needed, and given to the one who asked.
    assert asking.logins == {f"robot:{DOCKER}"}
    assert [name for name, secret in secrets().items() if secret.decode() in said] == []
    planted = (secretive.folder / ".docker", secretive.folder / ".netrc", secretive.folder / "uv-cache")
    assert leaks(secretive.folder, planted) == []
    assert leaks(tmp_path / "registry") == []
    # What was looked through: SBOMs, provenance and signatures are in the registry, pages and choices in the site.
    held = {kind for path in (tmp_path / "registry").rglob("data") for kind in kinds(path.read_bytes())}
    assert held == {"CycloneDX", "SPDX-2.3", "https://slsa.dev/provenance/v1", "dsseEnvelope", "cosign container"}
    assert (secretive.folder / "site" / "index.html").exists()
    assert "profileList" in (secretive.folder / "profiles.yaml").read_text()


def offered(site: Site, host: str) -> str:
    """Make the catalogue of a registry and a hub's profiles of it; return what was said."""
    said = ""
    verbs = (
        ("catalogue", "--output", str(site.folder / "site"), "--key", str(site.key.with_suffix(".pub"))),
        ("profiles", "--output", str(site.folder / "profiles.yaml")),
    )
    for verb, *options in verbs:
        done = subprocess.run(
            [sys.executable, "-m", "buildimages", verb, "--root", str(site.checkout), "--registry", host, *options],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": once.PYTHONPATH, **site.environment},
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    return said


def kinds(data: bytes) -> set[str]:
    names = ("CycloneDX", "SPDX-2.3", "https://slsa.dev/provenance/v1", "dsseEnvelope", "cosign container")
    return {name for name in names if name.encode() in data}


def test_no_secret_is_in_an_error(secretive, index, host):
    wheel = "part1-1.0-py3-none-any.whl"
    index.lies[wheel] = b"x" * len(index.files[wheel])
    try:
        code, _, said = once.outcome(once.spawn(secretive, host))
    finally:
        del index.lies[wheel]
    assert code in (4, 5), said
    assert [name for name, secret in secrets().items() if secret.decode() in said] == []
    # A registry that nobody answers for.
    code, _, said = once.outcome(once.spawn(secretive, "127.0.0.1:9"))
    assert code == 9, said
    assert [name for name, secret in secrets().items() if secret.decode() in said] == []


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "layer").write_bytes(zlib.compress(DOCKER.encode(), wbits=31) + zlib.compress(b"x", wbits=31))
    assert leaks(tmp_path) == ["docker in layer"]
