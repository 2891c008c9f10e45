"""Provenance: how an image came to be, as an in-toto statement with SLSA's predicate. Pure but for asking git.

Materials are the lock entries, since they decide every byte. No value of the environment is in it.

Spec: in-toto Statement v1; SLSA provenance v1.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ..core.digest import canonical_json
from ..make.building import Built
from . import sbom

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
IN_TOTO = "application/vnd.in-toto+json"
#: Names documents that lie elsewhere, by digest. Spec: in-toto attestation, predicates/reference.md.
REFERENCE = "https://in-toto.io/attestation/reference/v0.1"
BUILD_TYPE = "urn:helioimages:build:v1"
BUILDER = "urn:helioimages:builder:buildimages"


def statement(subject: str, digest: str, predicate_type: str, predicate: object) -> bytes:
    """Return an in-toto statement about one image.

    Args:
        subject: its name, e.g. ``base`` or ``ghcr.io/heliocloud/base``.
        digest: of its manifest, ``sha256:…``.
    """
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": subject, "digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def predicate(built: Built, *, commit: str, tool_version: str) -> dict[str, object]:
    """Return SLSA's predicate: the locks as parameters, their entries as dependencies.

    Args:
        commit: of the checkout, empty if it is none; ``-dirty`` ends one with changes.
    """
    materials: list[dict[str, object]] = [
        {"name": material.name, "uri": material.purl, "digest": {"sha256": material.sha256}}
        for material in sbom.materials(built)
    ]
    if built.parent:
        parent = built.parent
        materials.append(
            {
                "name": parent.spec.name,
                "uri": sbom.image_purl(parent),
                "digest": {"sha256": parent.image.digest.removeprefix("sha256:")},
            }
        )
    if commit and not commit.endswith("-dirty"):
        materials.append({"name": "checkout", "digest": {"gitCommit": commit}})
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "image": built.spec.name,
                "platform": str(built.image.config.platform),
                "channel": built.locks.conda.channel,
                "locks": dict(built.locks.files),
                "lockDigest": built.locks.digest,
                "sourceDateEpoch": built.locks.epoch,
            },
            "internalParameters": {"commit": commit},
            "resolvedDependencies": materials,
        },
        "runDetails": {"builder": {"id": BUILDER, "version": {"helioimages": tool_version}}},
    }


def reference(files: Iterable[tuple[str, str, str]], place: str) -> dict[str, object]:
    """Return the predicate that names documents.

    Args:
        files: name, media type and digest of each.
        place: the address under which a digest is fetched.
    """
    return {
        "attester": {"id": BUILDER},
        "references": [
            {
                "name": name,
                "mediaType": media_type,
                "digest": {"sha256": digest.removeprefix("sha256:")},
                "downloadLocation": f"{place}/{digest}",
            }
            for name, media_type, digest in files
        ],
    }


def referred(predicate: object) -> tuple[str, ...]:
    """Return the digests of the documents that a predicate of `reference` names, nothing if it is none."""
    try:
        return tuple(f"sha256:{row['digest']['sha256']}" for row in predicate["references"])  # type: ignore[index]
    except (KeyError, TypeError):
        return ()


def subjects(data: bytes) -> tuple[tuple[str, str], ...]:
    """Return (name, digest) of what a statement is about, nothing if it is none; a name may be empty."""
    try:
        subject_rows = json.loads(data)["subject"]
        return tuple(
            (str(subject.get("name", "")), f"sha256:{subject['digest']['sha256']}") for subject in subject_rows
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()


def commit_of(root: Path) -> str:
    """Return the checkout's commit, with ``-dirty`` when tracked files differ from it; empty where git has none."""
    try:
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except OSError:
        return ""
    if head.returncode:
        return ""
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")
