"""Signatures that cosign verifies, made and checked offline with an ECDSA P-256 key.

An image's signature is over a small JSON payload that names its digest; a document's is a DSSE envelope around its
in-toto statement. Signing is deterministic (RFC 6979), so the same image gets the same signature, and is not pushed
twice. cosign 3 looks for a Sigstore bundle first, which is the same envelope with a hint at its key; cosign 1 and 2
know the payload and the bare envelope.

Spec: cosign, specs/SIGNATURE_SPEC.md, ATTESTATION_SPEC.md and BUNDLE_SPEC.md; DSSE v1, protocol.md; Sigstore's
sigstore_bundle.proto.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from ..core.digest import canonical_json
from ..core.errors import HelioError, Stage
from ..core.reading import Form, Shape, Table, load_json

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_STATEMENT = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
#: What a bundle states that signs an image and says nothing else of it.
SIGNED = "https://sigstore.dev/cosign/sign/v1"
_COSIGN_PEM = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_TYPE = "cosign container image signature"
#: What cosign's own keys need is 32 MiB; a key file that asks for more than this is none of its.
_MOST_MEMORY = 256 << 20
_KEY_HINT = "make one: `cosign generate-key-pair` or `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
#: Of a key file the errors show no value.
_KEY_FILE = Form(stage=Stage.USAGE, message="cannot use the key `{file}`", hint=_KEY_HINT, comma=False, json=True)


def load_private(path: Path, password: str | None = None) -> ec.EllipticCurvePrivateKey:
    """Read a private key: cosign's encrypted PEM, or PKCS 8 PEM, encrypted or not.

    Args:
        password: of the key; by default ``COSIGN_PASSWORD``.

    Raises:
        HelioError: no such file, another format or curve, or another password.
    """
    secret = (os.environ.get("COSIGN_PASSWORD", "") if password is None else password).encode()
    data = _read(path)
    try:
        if any(f"-----BEGIN {name}-----".encode() in data for name in _COSIGN_PEM):
            key = serialization.load_der_private_key(_open_cosign(data, secret, path), None)
        else:
            encrypted = b"ENCRYPTED" in data
            key = serialization.load_pem_private_key(data, secret if encrypted else None)
    except (ValueError, TypeError, CryptoError) as error:
        raise _bad_key(path, "it is not such a key, or COSIGN_PASSWORD is not its password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise _bad_key(path, "expected an ECDSA P-256 key")
    return key


def load_public(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key in PEM, as ``cosign generate-key-pair`` writes it to cosign.pub.

    Raises:
        HelioError: no such file, or another format or curve.
    """
    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError as error:
        raise _bad_key(path, "expected a public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise _bad_key(path, "expected an ECDSA P-256 key")
    return key


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> str:
    """Return the signature of data in base64."""
    made = key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return base64.b64encode(made).decode()


def good(key: ec.EllipticCurvePublicKey, data: bytes, signature: str) -> bool:
    """Say whether a signature in base64 is this key's, over this data."""
    try:
        key.verify(base64.b64decode(signature, validate=True), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def payload(reference: str, digest: str) -> bytes:
    """Return what is signed for an image.

    Args:
        reference: ``host/repository``.
    """
    return canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": _TYPE,
            },
            "optional": None,
        }
    )


def signed_digest(data: bytes) -> str:
    """Return the digest that a payload names, empty if it is none."""
    try:
        critical = json.loads(data)["critical"]
        return critical["image"]["docker-manifest-digest"] if critical["type"] == _TYPE else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def signed_name(data: bytes) -> str:
    """Return the ``host/repository`` that a payload names, empty if it names none."""
    try:
        name = json.loads(data)["critical"]["identity"]["docker-reference"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""


def envelope(key: ec.EllipticCurvePrivateKey, payload_type: str, data: bytes) -> bytes:
    """Return a DSSE envelope around a document."""
    body = base64.b64encode(data).decode()
    signature = sign(key, _pae(payload_type, data))
    return canonical_json(
        {"payloadType": payload_type, "payload": body, "signatures": [{"keyid": "", "sig": signature}]}
    )


def open_envelope(key: ec.EllipticCurvePublicKey, data: bytes) -> bytes | None:
    """Return the statement in an envelope if one of the signatures is this key's; else, or if it is none, None."""
    try:
        document = json.loads(data)
        if document["payloadType"] != _STATEMENT:
            return None
        body = base64.b64decode(document["payload"], validate=True)
        signed = _pae(document["payloadType"], body)
        valid = any(good(key, signed, signature["sig"]) for signature in document["signatures"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return body if valid else None


def bundle(key: ec.EllipticCurvePrivateKey, sealed: bytes) -> bytes:
    """Return a Sigstore bundle of an envelope that this key sealed; there is no certificate, no log entry, no time."""
    return canonical_json(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": name(key.public_key())}, "tlogEntries": []},
            "dsseEnvelope": json.loads(sealed),
        }
    )


def open_bundle(key: ec.EllipticCurvePublicKey, data: bytes) -> tuple[bool, bytes | None]:
    """Return whether a bundle says to be this key's, and what it states if its signature is good.

    Bundles of other keys and of certificates, and those of other content than an envelope, are not this key's.
    """
    try:
        document = json.loads(data)
        claimed = document["verificationMaterial"]["publicKey"]["hint"] == name(key)
        return claimed, open_envelope(key, json.dumps(document["dsseEnvelope"]).encode()) if claimed else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return False, None


def name(key: ec.EllipticCurvePublicKey) -> str:
    """Return how bundles name a key: by the digest of its DER, in base64."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def _pae(payload_type: str, data: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: lengths in front, so that nothing can be moved between the parts."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(data), data)


def _open_cosign(data: bytes, password: bytes, path: Path) -> bytes:
    """Decrypt cosign's key file: JSON in PEM, scrypt and NaCl's secretbox.

    Raises:
        HelioError: it is another file.
        CryptoError: it has another password.
    """
    body = b"".join(line for line in data.split(b"\n") if line and not line.startswith(b"-----"))
    document = load_json(base64.b64decode(body), path.name, _KEY_FILE)
    kdf, cipher = document.table("kdf", required=True), document.table("cipher", required=True)
    kdf.text("name", shape=Shape.of("scrypt", "scrypt"))
    cipher.text("name", shape=Shape.of("nacl/secretbox", "nacl/secretbox"))
    cost = kdf.table("params", required=True)
    # What scrypt takes more for than the time or the memory of any key of cosign's is refused before it is tried.
    rounds, width, lanes = (
        cost.whole("N", minimum=2),
        cost.whole("r", minimum=1),
        cost.whole("p", minimum=1, maximum=16),
    )
    if 128 * rounds * width > _MOST_MEMORY or rounds & (rounds - 1):
        raise cost.wrong("N", f"a power of 2, with r at most {_MOST_MEMORY // 128:,} together", f"{rounds} and {width}")
    salt, nonce, sealed = _decoded(kdf, "salt"), _decoded(cipher, "nonce"), _decoded(document, "ciphertext")
    if len(nonce) != SecretBox.NONCE_SIZE:
        raise cipher.wrong("nonce", f"{SecretBox.NONCE_SIZE} bytes", str(len(nonce)))
    key = hashlib.scrypt(password, salt=salt, n=rounds, r=width, p=lanes, maxmem=2 * _MOST_MEMORY, dklen=32)
    return SecretBox(key).decrypt(sealed, nonce)


def _decoded(table: Table, name: str) -> bytes:
    try:
        return base64.b64decode(table.text(name))
    except ValueError as error:
        raise table.wrong(name, "base64", "another text") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _bad_key(path, error.strerror or str(error)) from error


def _bad_key(path: Path, detail: str) -> HelioError:
    return HelioError(
        Stage.USAGE,
        f"cannot use the key `{path.name}`",
        detail=detail,
        hint=_KEY_HINT,
    )
