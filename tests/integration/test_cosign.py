"""cosign itself, as two Debian suites have it, agrees with what `publish --key` attaches; and we with what it attaches.

cosign 2 reads the tags ``.sig`` and ``.att``, cosign 3 the Sigstore bundles. Both are pinned; with ``--world`` they are
those that the suites have today.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import trust_support
from trust_support import PLATFORM, Shop, run_cosign

from helioimages.core.digest import canonical_json, of_bytes
from helioimages.oci.reference import Reference
from helioimages.prove import verify
from helioimages.publish import attach as trust
from helioimages.publish import documents, provenance, sbom, signing
from helioimages.publish import push as publish

pytestmark = [pytest.mark.engine, pytest.mark.network]

OFFLINE = "--insecure-ignore-tlog=true"


@pytest.fixture(scope="module", params=trust_support.pinned_cosigns())
def cosign(request, tmp_path_factory) -> Path:
    """Return a cosign of each major version."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("`dpkg-deb` is not installed")
    today = request.config.getoption("--world")
    program = trust_support.cosign(request.param, tmp_path_factory.mktemp("cosign"), today=today)
    said = run_cosign(program, "version")
    if said.returncode:
        pytest.skip(f"cosign {request.param} cannot run here: {said.stderr.strip()}")
    return program


@pytest.fixture(scope="module")
def shop(tmp_path_factory, workspace, built):
    """Return an image that is published, attached and signed."""
    if not trust_support.has_registry():
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    with pytest.MonkeyPatch.context() as patch:
        # The locked packages have no files in this image, so their metadata are not at hand either.
        patch.setattr(sbom, "components", lambda _store, of: trust_support.without_files(of))
        with trust_support.shop(tmp_path_factory.mktemp("shop"), built, workspace.root, port=5312) as shop:
            yield shop


def checked(shop: Shop, cosign: Path, *words: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    reference = f"{shop.client.host}/base:latest"
    return run_cosign(cosign, *words, "--key", str(key or shop.pub), OFFLINE, reference)


def test_cosign_verifies_the_signature(shop, cosign, tmp_path):
    done = checked(shop, cosign, "verify")
    assert done.returncode == 0, done.stderr
    named = {payload["critical"]["image"]["docker-manifest-digest"] for payload in json.loads(done.stdout)}
    assert named == {shop.built.image.digest}
    other = trust_support.write_key(tmp_path / "other", 8).with_suffix(".pub")
    assert checked(shop, cosign, "verify", key=other).returncode != 0


@pytest.mark.parametrize("kind", ["slsaprovenance1", "cyclonedx", "spdxjson", provenance.REFERENCE])
def test_cosign_verifies_each_attestation(shop, cosign, kind):
    done = checked(shop, cosign, "verify-attestation", "--type", kind)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    text = base64.b64decode(json.loads(line)["payload"])
    predicate = json.loads(text)["predicate"]
    attached = {
        referrer.artifact_type: json.loads(shop.client.get_manifest("base", referrer.digest)[1])["layers"][0]["digest"]
        for referrer in shop.client.referrers("base", shop.built.image.digest)
    }
    # What cosign says is signed is, or names, the very document that is attached.
    told_by_kind = {
        "slsaprovenance1": lambda: (provenance.IN_TOTO, of_bytes(text)),
        "cyclonedx": lambda: (sbom.CYCLONEDX, sbom.whole_of(predicate)),
        "spdxjson": lambda: (sbom.SPDX, of_bytes(canonical_json(predicate))),
        provenance.REFERENCE: lambda: (documents.PACKAGES, provenance.referred(predicate)[-1]),
    }
    media_type, digest = told_by_kind[kind]()
    assert attached[media_type] == digest


def test_cosign_refuses_an_attestation_of_another_key(shop, cosign, tmp_path):
    other = trust_support.write_key(tmp_path / "other", 9).with_suffix(".pub")
    done = checked(shop, cosign, "verify-attestation", "--type", "cyclonedx", key=other)
    assert done.returncode != 0 and done.stdout == ""


def test_we_verify_what_cosign_signed_and_both_signatures_stay_good(shop, cosign, tmp_path):
    made = run_cosign(cosign, "generate-key-pair", "--output-key-prefix", str(tmp_path / "cosign"), password="open")
    assert made.returncode == 0, made.stderr
    private, public = tmp_path / "cosign.key", tmp_path / "cosign.pub"
    reference = f"{shop.client.host}/base@{shop.built.image.digest}"
    words = ["--key", str(private), "--tlog-upload=false", "--yes", reference]
    if "--use-signing-config" in run_cosign(cosign, "sign", "--help").stdout:
        words.insert(0, "--use-signing-config=false")
    done = run_cosign(cosign, "sign", *words, password="open")
    assert done.returncode == 0, done.stderr
    # Theirs by us: cosign 3 names no repository, which only who asks for none accepts.
    named = faults(shop, public, tmp_path / "a", identity="*")
    assert [line for line in named if "this key did not sign" not in line] == []
    # Ours by theirs and by us, beside it.
    assert checked(shop, cosign, "verify").returncode == 0
    assert checked(shop, cosign, "verify", key=public).returncode == 0
    assert faults(shop, shop.pub, tmp_path / "b") == ()
    # We sign with cosign's key file too.
    assert signing.load_private(private, "open").public_key() == signing.load_public(public)


def test_the_workflows_script_signs_all_that_is_said(shop, cosign, tmp_path, monkeypatch, capfd):
    """With a key instead of a CI's identity, which needs Sigstore's servers."""
    made = run_cosign(cosign, "generate-key-pair", "--output-key-prefix", str(tmp_path / "cosign"), password="open")
    assert made.returncode == 0, made.stderr
    private, public = tmp_path / "cosign.key", tmp_path / "cosign.pub"
    words = ["--key", str(private), "--tlog-upload=false"]
    if "--use-signing-config" in run_cosign(cosign, "sign", "--help").stdout:
        words.append("--use-signing-config=false")
    report = shop.store.root / "no report"
    others, predicates = documents.unsigned(shop.built, report), tmp_path / "predicates"
    trust.write_predicates(shop.subject("base", others), predicates)
    monkeypatch.setenv("PATH", f"{cosign.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COSIGN_PASSWORD", "open")
    monkeypatch.setenv("HOME", str(tmp_path))
    script = Path(__file__).parents[2] / ".github" / "sign.sh"
    publish.approve(shlex.join([str(script), *words]), f"{shop.client.host}/base@{shop.built.image.digest}", predicates)
    assert checked(shop, cosign, "verify", key=public).returncode == 0
    for kind in ("slsaprovenance1", "cyclonedx", "spdxjson", provenance.REFERENCE):
        done = checked(shop, cosign, "verify-attestation", "--type", kind, key=public)
        assert done.returncode == 0, done.stderr
    assert faults(shop, public, tmp_path / "a", identity="*") == faults(shop, shop.pub, tmp_path / "b") == ()


def faults(shop: Shop, key: Path, folder: Path, **options) -> tuple[str, ...]:
    reference = Reference(host=shop.client.host, repository="base", tag="latest")
    image = verify.fetch(shop.client, reference, PLATFORM)
    folder.mkdir()
    return verify.published(shop.client, reference, image, folder, key=key, **options)[1]
