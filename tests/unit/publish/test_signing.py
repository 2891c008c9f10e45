"""Signatures in cosign's formats, and the key files that make them."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from nacl.secret import SecretBox

from helioimages.core.errors import HelioError
from helioimages.prove import signatures as signed
from helioimages.publish import provenance, signing

TYPE = provenance.IN_TOTO
DIGEST = "sha256:" + "1" * 64
KEY = ec.derive_private_key(7, ec.SECP256R1())


def der(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(key, password: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def cosign_pem(key, password: bytes) -> bytes:
    """Write a key as ``cosign generate-key-pair`` does."""
    salt, nonce = bytes(range(32)), bytes(range(24))
    secret = hashlib.scrypt(password, salt=salt, n=32768, r=8, p=1, maxmem=256 << 20, dklen=32)
    text = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": 32768, "r": 8, "p": 1},
            "salt": base64.b64encode(salt).decode(),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(SecretBox(secret).encrypt(der(key), nonce).ciphertext).decode(),
    }
    body = base64.encodebytes(json.dumps(text).encode()).decode()
    return (
        f"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n{body}-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n".encode()
    )


# Keys are made when a test runs: scrypt takes half a second, and each worker reads this file.
@pytest.mark.parametrize(
    ("made", "password"),
    [(partial(pem, KEY), ""), (partial(pem, KEY, b"open"), "open"), (partial(cosign_pem, KEY, b"open"), "open")],
)
def test_keys_of_every_format(tmp_path, made, password):
    (tmp_path / "key").write_bytes(made())
    assert der(signing.load_private(tmp_path / "key", password)) == der(KEY)


@pytest.mark.parametrize(
    "made",
    [
        lambda: b"",
        lambda: b"key",
        partial(pem, KEY, b"other"),
        partial(cosign_pem, KEY, b"other"),
        partial(pem, ec.derive_private_key(7, ec.SECP384R1())),
    ],
)
def test_other_keys_are_refused(tmp_path, made):
    (tmp_path / "key").write_bytes(made())
    with pytest.raises(HelioError, match=r"^cannot use the key `key`\n"):
        signing.load_private(tmp_path / "key", "open")


def test_a_payload_is_cosigns():
    assert signing.payload("127.0.0.1:5000/base", DIGEST) == (
        b'{"critical":{"identity":{"docker-reference":"127.0.0.1:5000/base"},"image":{"docker-manifest-digest":"'
        + DIGEST.encode()
        + b'"},"type":"cosign container image signature"},"optional":null}'
    )
    assert signing.signed_digest(signing.payload("x", DIGEST)) == DIGEST
    for text in (b"{}", b"\xff", b"[" * 100_000):
        assert signing.signed_digest(text) == signing.signed_name(text) == ""


def test_signing_twice_gives_one_signature_and_a_changed_byte_shows():
    signature = signing.sign(KEY, b"text")
    assert signature == signing.sign(KEY, b"text")
    assert signing.good(KEY.public_key(), b"text", signature)
    assert not signing.good(KEY.public_key(), b"texT", signature)
    assert not signing.good(ec.derive_private_key(8, ec.SECP256R1()).public_key(), b"text", signature)
    assert not signing.good(KEY.public_key(), b"text", "no base64!")


def test_an_envelope_opens_with_its_key_only():
    sealed = signing.envelope(KEY, TYPE, b"{}")
    assert signing.open_envelope(KEY.public_key(), sealed) == b"{}"
    assert signing.open_envelope(ec.derive_private_key(8, ec.SECP256R1()).public_key(), sealed) is None
    changed = json.loads(sealed) | {"payload": base64.b64encode(b"[]").decode()}
    assert signing.open_envelope(KEY.public_key(), json.dumps(changed).encode()) is None
    for text in (b"[]", json.dumps(changed | {"payloadType": 3}).encode()):
        assert signing.open_envelope(KEY.public_key(), text) is None
    # The key may sign envelopes of other things elsewhere.
    assert signing.open_envelope(KEY.public_key(), signing.envelope(KEY, "text/plain", b"{}")) is None


def test_a_payload_names_its_repository():
    assert signing.signed_name(signing.payload("127.0.0.1:5000/base", DIGEST)) == "127.0.0.1:5000/base"
    for text in (b"", b"[]", b'{"critical": {"identity": {"docker-reference": 1}}}'):
        assert signing.signed_name(text) == ""


def test_a_bundle_opens_with_its_key_only():
    other = ec.derive_private_key(8, ec.SECP256R1())
    statement = provenance.statement("h.org/base", DIGEST, signing.SIGNED, {})
    sealed = signing.envelope(KEY, TYPE, statement)
    made = signing.bundle(KEY, sealed)
    assert signing.open_bundle(KEY.public_key(), made) == (True, statement)
    assert signing.open_bundle(other.public_key(), made) == (False, None)
    # It says to be another's, and is not.
    assert signing.open_bundle(other.public_key(), signing.bundle(other, sealed)) == (True, None)
    for text in (b"", b"[]", b'{"verificationMaterial": {"certificate": {}}}'):
        assert signing.open_bundle(KEY.public_key(), text) == (False, None)
    assert signed.attested(KEY.public_key(), made, "")[0] == DIGEST
    assert signed.attested(other.public_key(), made, "") == ("", frozenset())
    payload = signing.payload("h.org/base", DIGEST)
    assert signed.attested(KEY.public_key(), payload, signing.sign(KEY, payload)) == (DIGEST, frozenset())
    assert signed.attested(other.public_key(), payload, signing.sign(KEY, payload)) == ("", frozenset())


def test_a_statement_of_nothing_has_no_subjects():
    for text in (b"", b"[" * 100_000, b"[]", b'{"subject": [1]}', b'{"subject": [{"digest": {}}]}', b'{"subject": 3}'):
        assert provenance.subjects(text) == ()


def test_openssl_agrees(tmp_path):
    """The signature is plain ECDSA in DER: what `openssl dgst` and cosign verify."""
    import subprocess

    (tmp_path / "pub").write_bytes(
        KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "data").write_bytes(b"text")
    (tmp_path / "sig").write_bytes(base64.b64decode(signing.sign(KEY, b"text")))
    words = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "data"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True, text=True).stdout == "Verified OK\n"
    assert signing.load_public(Path(tmp_path / "pub")).public_numbers() == KEY.public_key().public_numbers()


def test_what_is_signed_of_a_document_is_dsses():
    """The specification's own example: lengths in front of each part."""
    sealed = json.loads(signing.envelope(KEY, "http://example.com/HelloWorld", b"hello world"))
    signature = sealed["signatures"][0]["sig"]
    text = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert signing.good(KEY.public_key(), text, signature)
    assert sealed == {
        "payloadType": "http://example.com/HelloWorld",
        "payload": base64.b64encode(b"hello world").decode(),
        "signatures": [{"keyid": "", "sig": signature}],
    }


def test_one_good_signature_among_others_is_enough():
    sealed = json.loads(signing.envelope(KEY, TYPE, b"x"))
    other = json.loads(signing.envelope(ec.derive_private_key(8, ec.SECP256R1()), TYPE, b"x"))
    sealed["signatures"] = [*other["signatures"], *sealed["signatures"]]
    assert signing.open_envelope(KEY.public_key(), json.dumps(sealed).encode()) == b"x"
    for fault in ({"payload": None}, {"signatures": None}, {"signatures": [{}]}, {"payload": "?"}):
        assert signing.open_envelope(KEY.public_key(), json.dumps(sealed | fault).encode()) is None
    assert signing.open_envelope(KEY.public_key(), b"[" * 100_000) is None


def test_a_signature_with_odd_characters_is_none():
    signature = signing.sign(KEY, b"text")
    assert not signing.good(KEY.public_key(), b"text", f"{signature[:8]}\n{signature[8:]}")


def test_a_payload_of_another_type_names_no_image():
    other = json.loads(signing.payload("h.org/base", DIGEST))
    other["critical"]["type"] = "atomic container signature"
    text = json.dumps(other).encode()
    assert signing.signed_digest(text) == ""
    assert signed.attested(KEY.public_key(), text, signing.sign(KEY, text)) == ("", frozenset())


def test_a_statement_about_two_images_is_about_none():
    statement = json.loads(provenance.statement("h.org/base", DIGEST, signing.SIGNED, {}))
    statement["subject"].append({"name": "h.org/other", "digest": {"sha256": "2" * 64}})
    made = signing.bundle(KEY, signing.envelope(KEY, TYPE, json.dumps(statement).encode()))
    assert signed.attested(KEY.public_key(), made, "") == ("", frozenset())


@pytest.mark.parametrize("key", [ec.derive_private_key(7, ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_public_keys_of_another_kind_are_refused(tmp_path, key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    with pytest.raises(HelioError) as caught:
        signing.load_public(tmp_path / "key.pub")
    assert (caught.value.message, caught.value.detail) == (
        "cannot use the key `key.pub`",
        "expected an ECDSA P-256 key",
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("scrypt", "pbkdf2", "kdf.name\n  expected scrypt not 'pbkdf2'"),
        ("nacl/secretbox", "aes", "cipher.name\n  expected nacl/secretbox not 'aes'"),
        ('"N": 32768', '"N": 1048576', "kdf.params.N\n  expected a power of 2, with r at most 2,097,152 together not "),
        ('"N": 32768', '"N": 32767', "kdf.params.N\n  expected a power of 2, with r at most 2,097,152 together not "),
        ('"p": 1', '"p": 1000000', "kdf.params.p\n  expected a number from 1 to 16 not 1000000"),
        ('"nonce": "', '"nonce": "AAAA', "cipher.nonce\n  expected 24 bytes not 27"),
        ('"salt": "', '"salt": "AA', "kdf.salt\n  expected base64 not another text"),
        ('"ciphertext"', '"text"', "ciphertext\n  expected a string, found nothing"),
    ],
    ids=["kdf", "cipher", "memory", "power", "time", "nonce", "base64", "absent"],
)
def test_a_key_file_of_another_cipher_or_a_greedy_one_is_refused(tmp_path, old, new, told):
    first, *body, last = cosign_pem(KEY, b"open").decode().splitlines()
    text = base64.b64decode("".join(body)).decode()
    assert old in text
    changed = base64.encodebytes(text.replace(old, new).encode()).decode()
    (tmp_path / "key").write_text(f"{first}\n{changed}{last}\n")
    with pytest.raises(HelioError) as caught:
        signing.load_private(tmp_path / "key", "open")
    assert str(caught.value).startswith(f"cannot use the key `key`\n  in key at {told}")
