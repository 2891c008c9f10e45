"""A small registry in memory that can misbehave on demand: what real ones do only on bad days."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DATA = hashlib.sha256(b"seed").digest() * 4000  # 128,000 bytes


@dataclass
class Fault:
    """What goes wrong, and how often, for requests whose ``METHOD path`` matches."""

    pattern: str
    kind: str
    times: int = 1
    status: int = 500
    code: str = "OOPS"
    headers: dict = field(default_factory=dict)
    after: int = 0


@dataclass(frozen=True)
class Held:
    """What a registry holds at one time."""

    blobs: Mapping[str, bytes]
    repositories: Mapping[str, frozenset[str]]
    manifests: Mapping[tuple[str, str], tuple[str, bytes]]


class FaultyRegistry:
    """State of the registry; tests read and change it freely."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.hold(Held(blobs={}, repositories={}, manifests={}))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"registry": self}))
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def hold(self, held: Held) -> None:
        """Be a registry that holds this and behaves well, whatever this one held and did."""
        self.blobs = dict(held.blobs)
        self.repositories = {name: set(blobs) for name, blobs in held.repositories.items()}
        self.manifests = dict(held.manifests)
        self.uploads: dict[str, bytearray] = {}
        self.names = itertools.count()
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.seen_headers: list[tuple[str, dict]] = []
        self.users: dict[str, str] = {}
        self.identity_token = ""
        self.auth = ""
        self.tokens: set[str] = set()
        #: With bearer: a token is good for what it names only, and nothing is told of a repository that is not there to
        #: whoever may not push to it, as Quay does.
        self.strict = False
        #: Scopes that the token server refuses, as a pattern, and how.
        self.denied, self.denied_status = "", 403
        #: Where the token server's answer has the token; whether the challenge names a service, and has quotes.
        self.token_key, self.service, self.quoted = "token", True, True
        #: Tags that match may be set once.
        self.immutable, self.immutable_status = "", 409
        self.referrers_api = True
        self.ranges = True
        self.page = 1000
        self.next_host = ""

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def held(self) -> Held:
        """Return what it holds, for `hold`: tests of a module share what takes long to put there."""
        repositories = {name: frozenset(blobs) for name, blobs in self.repositories.items()}
        return Held(blobs=dict(self.blobs), repositories=repositories, manifests=dict(self.manifests))

    def put(self, repository: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        self.repositories.setdefault(repository, set()).add(digest)
        return digest

    def count(self, pattern: str) -> int:
        return sum(re.search(pattern, line) is not None for line in self.log)

    def next_fault(self, line: str) -> Fault | None:
        with self.lock:
            self.log.append(line)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: FaultyRegistry

    def log_message(self, *_args) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str = "", **headers: str) -> None:
        self.answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), **headers)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def handle_any(self) -> None:
        registry = self.registry
        registry.seen_headers.append((f"{self.command} {self.path}", dict(self.headers)))
        fault = registry.next_fault(f"{self.command} {self.path}")
        if fault is not None and fault.kind == "drop":
            if fault.after:
                upload = registry.uploads.get(urlsplit(self.path).path.rpartition("/")[2])
                received = self.rfile.read(fault.after)
                if upload is not None:
                    upload += received
            self.close_connection = True
            return
        if fault is not None and fault.kind == "status":
            self.body()
            self.refuse(fault.status, fault.code, "not today", **fault.headers)
            return
        if fault is not None and fault.kind == "endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            self.close_connection = True
            return
        self.misbehaviour = fault.kind if fault else ""
        parts = urlsplit(self.path)
        if parts.path == "/token":
            self.token(parse_qs(parts.query))
            return
        if not self.allowed():
            self.body()
            quote = '"' if registry.quoted else ""
            service = f",service={quote}faulty{quote}" if registry.service else ""
            challenge = (
                f"Bearer realm={quote}http://{registry.host}/token{quote}{service}"
                if registry.auth == "bearer"
                else 'Basic realm="faulty"'
            )
            self.refuse(401, "UNAUTHORIZED", "who are you?", WWW_Authenticate=challenge)
            return
        if parts.path == "/v2/":
            self.answer(200, b"{}")
            return
        match = re.fullmatch(r"/v2/(.+?)/(manifests|blobs|tags|referrers)/(.*)", parts.path)
        if match is None:
            self.refuse(404, "NOT_FOUND")
            return
        repository, kind, rest = match.groups()
        getattr(self, kind)(repository, rest, parse_qs(parts.query))

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def allowed(self) -> bool:
        registry, given = self.registry, self.headers.get("Authorization", "")
        if registry.auth == "bearer":
            token = given.removeprefix("Bearer ")
            return token in registry.tokens and (not registry.strict or self.within(bytes.fromhex(token).decode()))
        if registry.auth == "basic":
            pairs = {f"{user}:{password}" for user, password in registry.users.items()}
            return base64.b64decode(given.removeprefix("Basic ")).decode() in pairs
        return True

    def within(self, token: str) -> bool:
        """Say whether a token's scopes allow this request."""
        granted = {
            scope.split(":")[1]: scope.split(":")[2].split(",") for scope in re.findall(r"repository:\S+", token)
        }
        parts = urlsplit(self.path)
        match = re.fullmatch(r"/v2/(.+?)/(manifests|blobs|tags|referrers)/.*", parts.path)
        if match is None:
            return True
        repository = match[1]
        registry = self.registry
        there = repository in registry.repositories or any(repo == repository for repo, _ in registry.manifests)
        needed = "pull" if self.command in ("GET", "HEAD") and there else "push"
        sources = parse_qs(parts.query).get("from", [])
        return needed in granted.get(repository, ()) and all("pull" in granted.get(source, ()) for source in sources)

    def token(self, query: dict) -> None:
        registry = self.registry
        if self.command == "POST":
            form = parse_qs(self.body().decode())
            good = form.get("refresh_token") == [registry.identity_token]
            scope = form.get("scope", [""])[0]
        else:
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            user, _, password = base64.b64decode(given).decode().partition(":")
            good = registry.users.get(user) == password
            scope = " ".join(query.get("scope", []))
        if not good:
            self.refuse(401, "DENIED", "wrong password")
            return
        if registry.denied and re.search(registry.denied, scope):
            self.refuse(registry.denied_status, "DENIED", "requested access to the resource is denied")
            return
        if ("service" in query) is not registry.service and self.command == "GET":
            self.refuse(400, "UNSUPPORTED", "another service")
            return
        token = f"token-{len(registry.tokens)}-{scope}".encode().hex()
        registry.tokens.add(token)
        self.answer(200, json.dumps({registry.token_key: token}).encode())

    def manifests(self, repository: str, reference: str, _query: dict) -> None:
        registry = self.registry
        if self.command == "PUT":
            data = self.body()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            media_type = self.headers["Content-Type"]
            _, there = registry.manifests.get((repository, reference), ("", data))
            if there != data and registry.immutable and re.search(registry.immutable, reference):
                self.refuse(registry.immutable_status, "TAG_INVALID", "the tag is immutable")
                return
            registry.manifests[repository, reference] = registry.manifests[repository, digest] = (media_type, data)
            said = "sha256:" + "0" * 64 if self.misbehaviour == "lie" else digest
            subject = json.loads(data).get("subject")
            extra = {"OCI_Subject": subject["digest"]} if subject and registry.referrers_api else {}
            self.answer(201, Docker_Content_Digest=said, **extra)
        elif self.command == "DELETE":
            removed = registry.manifests.pop((repository, reference), None)
            self.answer(202 if removed else 404)
        elif (repository, reference) in registry.manifests:
            media_type, data = registry.manifests[repository, reference]
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            headers = {"Content_Type": media_type, "Docker_Content_Digest": digest}
            if self.misbehaviour == "lie":
                data = data.replace(b"1", b"2")
            if self.misbehaviour == "bare":
                headers = {"Content_Type": media_type}
            self.answer(200, data, **headers)
        else:
            self.refuse(404, "MANIFEST_UNKNOWN")

    def blobs(self, repository: str, rest: str, query: dict) -> None:
        if rest.startswith("uploads/"):
            self.upload(repository, rest.removeprefix("uploads/"), query)
            return
        registry = self.registry
        if rest not in registry.repositories.get(repository, ()):
            self.refuse(404, "BLOB_UNKNOWN")
            return
        data, begin = registry.blobs[rest], 0
        if registry.ranges and (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            begin = int(match[1])
        part = data[begin:]
        if self.misbehaviour == "lie":
            part = bytes(len(part))
        if self.misbehaviour == "coded":
            # Object stores name the coding that a file has by itself.
            self.answer(206 if begin else 200, part, Content_Encoding="gzip")
            return
        if self.misbehaviour == "squeezed":
            self.answer(200, gzip.compress(data), Content_Encoding="gzip")
            return
        if self.misbehaviour == "truncate":
            self.answer(206 if begin else 200, part[: len(part) // 2], Content_Length=str(len(part)))
            self.close_connection = True
            return
        self.answer(206 if begin else 200, part)

    def upload(self, repository: str, name: str, query: dict) -> None:
        registry = self.registry
        location = f"/v2/{repository}/blobs/uploads/{name}"
        if self.command == "POST":
            self.body()
            if "mount" in query:
                digest, source = query["mount"][0], query["from"][0]
                if digest in registry.repositories.get(source, ()):
                    registry.repositories.setdefault(repository, set()).add(digest)
                    self.answer(201, Docker_Content_Digest=digest)
                    return
            name = str(next(registry.names))
            registry.uploads[name] = bytearray()
            self.answer(202, Location=f"/v2/{repository}/blobs/uploads/{name}")
            return
        upload = registry.uploads.get(name)
        if upload is None:
            self.body()
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "PATCH":
            begin = int(self.headers["Content-Range"].partition("-")[0])
            data = self.body()
            if begin != len(upload):
                self.refuse(416, "BLOB_UPLOAD_INVALID")
                return
            upload += data
            self.answer(202, Location=location, Range=f"0-{max(0, len(upload) - 1)}")
        elif self.command == "GET":
            self.answer(204, Location=location, Range=f"0-{max(0, len(upload) - 1)}")
        elif self.command == "DELETE":
            del registry.uploads[name]
            self.answer(204)
        else:
            data = self.body()
            # As zot does: what is not said to be a range begins at 0.
            begin = int(self.headers.get("Content-Range", "0").partition("-")[0])
            if data and begin != len(upload):
                self.refuse(400, "BLOB_UPLOAD_INVALID")
                return
            upload += data
            digest = "sha256:" + hashlib.sha256(upload).hexdigest()
            del registry.uploads[name]
            if digest != query["digest"][0]:
                self.refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
                return
            registry.put(repository, bytes(upload))
            if self.misbehaviour == "lost answer":
                self.close_connection = True
                return
            self.answer(201, Docker_Content_Digest=digest)

    def tags(self, repository: str, _rest: str, query: dict) -> None:
        registry = self.registry
        names = sorted(ref for repo, ref in registry.manifests if repo == repository and ":" not in ref)
        if not names:
            self.refuse(404, "NAME_UNKNOWN")
            return
        last = query.get("last", [""])[0]
        rest = [name for name in names if name > last]
        page = rest[: registry.page]
        extra = {}
        if len(rest) > len(page):
            extra["Link"] = f'<{registry.next_host}/v2/{repository}/tags/list?last={page[-1]}>; rel="next"'
        self.answer(200, json.dumps({"name": repository, "tags": page}).encode(), **extra)

    def referrers(self, repository: str, digest: str, _query: dict) -> None:
        registry = self.registry
        if not registry.referrers_api:
            self.refuse(404, "NOT_FOUND")
            return
        rows = []
        for (repo, reference), (media_type, data) in sorted(registry.manifests.items()):
            document = json.loads(data)
            if repo == repository and ":" in reference and document.get("subject", {}).get("digest") == digest:
                rows.append(
                    {
                        "mediaType": media_type,
                        "digest": reference,
                        "size": len(data),
                        "artifactType": document["artifactType"],
                    }
                )
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": rows}
        self.answer(200, json.dumps(index).encode(), Content_Type=index["mediaType"])
