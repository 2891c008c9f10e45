"""Debian's docker-registry as docs/registries.md has it: what it supports, with passwords, and with tokens."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from ports import free

from helioimages.core import entries
from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import Platform
from helioimages.machine.store import Store
from helioimages.oci.absent import absent
from helioimages.oci.image import Addition, Image, Settings, append, artifact
from helioimages.oci.layer import write_layer
from helioimages.oci.reference import Reference
from helioimages.oci.registry import Registry
from helioimages.oci.types import Descriptor
from helioimages.publish import push
from helioimages.publish.credentials import from_docker_config

pytestmark = pytest.mark.engine
USER, PASSWORD = "ada", "sun and heliosphere"
# bcrypt of that, as `htpasswd -B` writes it.
HTPASSWD = "ada:$2b$05$abcdefghijklmnopqrstuuBB0agES3izLR.vylmNCdmX/L9vErRJy\n"
ISSUER, SERVICE = "token server of a test", "registry of a test"
#: A token is good from so many seconds before it is given: a registry has a clock of its own (`tests/run --next-year`).
AGO_S = 2 * 365 * 86_400


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def image(store) -> Image:
    draft = store.root / "tmp" / "draft"
    with open(draft, "wb") as out:
        layer = write_layer(entries.merge([entries.file("srv/small", b"small")]), out, jobs=1)
    draft.rename(store.blob(layer.digest))
    addition = Addition(layer=layer, created_by="ADD small /")
    return append(None, [addition], Settings(), platform=Platform.of("linux/amd64"), created_epoch=1_700_000_000)


@contextlib.contextmanager
def registry(folder: Path, auth: dict[str, object]) -> Iterator[str]:
    """Run Debian's registry with a way to log in, and yield its host."""
    program = next((path for name in ("docker-registry", "registry") if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    host = f"127.0.0.1:{free()}"
    document = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": host},
        **({"auth": auth} if auth else {}),
    }
    (folder / "config.yml").write_text(yaml.safe_dump(document))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(requests.RequestException):
                requests.get(f"http://{host}/v2/", timeout=5)
                break
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait(10)


def login(folder: Path, host: str, password: str = PASSWORD) -> Callable[[str], object]:
    """Return what `docker login` leaves behind, read as `publish` reads it."""
    file = folder / "config.json"
    said = base64.b64encode(f"{USER}:{password}".encode()).decode()
    file.write_text(json.dumps({"auths": {host: {"auth": said}}}))
    return from_docker_config((file,))


def works(client: Registry, store: Store, image: Image) -> None:
    """Push, mount, hang a document on it, tag, move a tag and delete: each as the page has it."""
    push.push_untagged(client, image, "t/parent", store)
    mounted = push.push_untagged(client, image, "t/child", store, mount_from=("t/parent",))
    assert (mounted.blobs_mounted, mounted.bytes_sent) == (2, 0)
    assert client.head_manifest("t/child", image.digest).digest == image.digest
    text = b"{}"
    said = Descriptor(media_type="application/x-anything", digest=store.put_blob(text), size=len(text))
    document = artifact(image.descriptor, "application/vnd.helioimages.weight.v1+json", said)
    client.push_blob("t/child", said, store.blob(said.digest))
    attached = client.attach("t/child", document)
    assert [referrer.digest for referrer in client.referrers("t/child", image.digest)] == [attached]
    # It has no API for that: the list is under a tag.
    assert client.tags("t/child") == (image.digest.replace(":", "-"),)
    for manifest in (image.manifest_bytes, document.dump()):
        client.put_manifest("t/child", "moves", manifest)
    assert client.head_manifest("t/child", "moves").digest == attached
    assert client.delete_manifest("t/child", image.digest)
    assert client.head_manifest("t/child", image.digest) is None


def test_without_a_login(store, image, tmp_path):
    with registry(tmp_path, {}) as host, Registry(host) as client:
        works(client, store, image)
        assert client.repositories() == ("t/child", "t/parent")
        missing = absent(client, Reference.parse(f"{host}/t/prent:1"), "prent:1", Stage.USAGE)
        assert missing.hint == "did you mean `t/parent`? The tags there: none"
        answer = requests.get(f"http://{host}/v2/t/child/referrers/{image.digest}", timeout=30)
        assert answer.status_code == 404
        place, kind = f"http://{host}/v2/t/parent/manifests/{image.digest}", {"Accept": image.manifest.media_type}
        head = requests.head(place, headers=kind, timeout=30)
        assert head.headers["Docker-Content-Digest"] == image.digest


def test_with_a_file_of_passwords(store, image, tmp_path):
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "x", "path": str(tmp_path / "htpasswd")}}
    with registry(tmp_path, auth) as host:
        with Registry(host, credentials=login(tmp_path, host)) as client:
            works(client, store, image)
        for credentials in (login(tmp_path, host, "wrong password"), from_docker_config(())):
            with Registry(host, credentials=credentials) as client, pytest.raises(HelioError) as caught:
                push.push_untagged(client, image, "t/other", store)
            assert "wrong password" not in str(caught.value)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Gives whoever has the password a token for just what is asked, for a minute.

    Spec: distribution, "Token Authentication Specification" and "Token Authentication Implementation" (JWT).
    """

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(7)
            .not_valid_before(now - datetime.timedelta(seconds=AGO_S))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.asked: list[tuple[str, ...]] = []

    def token(self, scopes: tuple[str, ...]) -> str:
        self.asked.append(scopes)
        certificate = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": ISSUER,
            "sub": USER,
            "aud": SERVICE,
            "exp": now + 60,
            "nbf": now - AGO_S,
            "iat": now - AGO_S,
            "jti": str(len(self.asked)),
            "access": access,
        }
        parts = ({"typ": "JWT", "alg": "ES256", "x5c": [certificate]}, claims)
        text = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        numbers = utils.decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_encoded(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


@contextlib.contextmanager
def served(tokens: TokenServer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            said = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            good = self.headers.get("Authorization") == f"Basic {said}" and query.get("service") == [SERVICE]
            scopes = tuple(word for text in query.get("scope", ()) for word in text.split())
            body = json.dumps({"token": tokens.token(scopes)} if good else {"errors": []}).encode()
            self.send_response(200 if good else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token"
        finally:
            server.shutdown()


def test_with_tokens(store, image, tmp_path):
    tokens = TokenServer()
    (tmp_path / "root.pem").write_bytes(tokens.certificate.public_bytes(serialization.Encoding.PEM))
    with served(tokens) as realm:
        auth = {
            "token": {
                "realm": realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(tmp_path / "root.pem"),
            }
        }
        with registry(tmp_path, auth) as host:
            with Registry(host, credentials=login(tmp_path, host)) as client:
                works(client, store, image)
                # Our token server gives whatever is asked for.
                assert client.repositories() == ("t/child", "t/parent")
            # To mount, one token is for both; and nobody asked for more than is needed.
            assert any({scope.split(":")[1] for scope in scopes} == {"t/parent", "t/child"} for scopes in tokens.asked)
            wrong = login(tmp_path, host, "wrong password")
            with Registry(host, credentials=wrong) as client, pytest.raises(HelioError) as caught:
                push.push_untagged(client, image, "t/other", store)
            assert "wrong password" not in str(caught.value)
