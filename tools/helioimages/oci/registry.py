"""A registry client: manifests, blobs, tags, referrers. Every byte that comes in is verified by digest.

Reading order: `Registry.get_manifest` and `put_manifest` -> `push_blob` (mount, or `upload`: whole, or in resumable
chunks) and `pull_blob` (`download`) -> `referrers` and `attach`. `calls` carries all of it, with the rights it needs.

Spec: OCI distribution-spec v1.1.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import requests

from ..core.digest import is_digest, of_bytes
from ..core.errors import HelioError, Stage
from ..core.http import Tries
from ..core.platform import Platform
from . import referrers_tag
from .calls import Calls, mismatch
from .document import load, node
from .download import download
from .image import Image
from .reference import registry_of, repository_in
from .transport import MOST, Credential, RegistryRequest, Transport, anonymous, explain, refusal, scope_of
from .types import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, OCI_NAME, Descriptor, ImageIndex, Manifest
from .upload import Dropped, Upload

_ACCEPT = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
#: How registries say that they do not know the referrers API; not all of them say 404.
_NO_REFERRERS = (400, 404, 405, 406)
#: How often a manifest is put whose blobs the registry says not to know: for about half a minute.
_WRITERS = 10


class Registry:
    """One registry; may be used by many threads at once. Arguments are those of `transport.Transport`.

    Args:
        chunk: bytes sent in one request; a larger blob goes in several, and a dropped one resumes.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Callable[[str], Credential | None] = anonymous,
        insecure: bool = False,
        tries: int = 6,
        pause: Callable[[float], None] = time.sleep,
        chunk: int = 64 << 20,
    ) -> None:
        self.host, self._chunk, self._tries, self._pause = registry_of(host), chunk, tries, pause
        self._unmountable: set[tuple[str, str]] = set()
        self._http = Transport(host, credentials=credentials, insecure=insecure, tries=tries, pause=pause)
        self._calls = Calls(self._http)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ping(self) -> str:
        """Return the registry's address.

        Raises:
            HelioError: no registry answers.
        """
        return self._http.base()

    def expect_push(self, repository: str) -> None:
        """Say that a push to a repository follows: from here on each request asks for the right to push.

        A registry that makes repositories as they are pushed to knows nothing of one to whoever may only pull.
        """
        self._calls.expect_push(repository)

    # -- manifests ---------------------------------------------------------------------------------------------------

    def head_manifest(self, repository: str, reference: str) -> Descriptor | None:
        """Return what a tag or digest names, or None.

        Raises:
            HelioError: the registry refuses, or does not answer.
        """
        request = RegistryRequest(method="HEAD", path=f"manifests/{reference}", headers={"Accept": _ACCEPT})
        response = self._calls.call(repository, request, good=(200, 404))
        if response.status_code == 404:
            return None
        digest = response.headers.get("Docker-Content-Digest", "")
        if not is_digest(digest) or not response.headers.get("Content-Length", "").isdigit():
            # Both headers may be left out of a HEAD; the body says all.
            answer = self.get_manifest(repository, reference)
            return answer and answer[0]
        media_type = response.headers.get("Content-Type", MANIFEST).partition(";")[0]
        return Descriptor(media_type=media_type, digest=digest, size=int(response.headers["Content-Length"]))

    def get_manifest(self, repository: str, reference: str) -> tuple[Descriptor, bytes] | None:
        """Return a manifest or index by tag or digest, with its bytes; None if it is not there.

        Raises:
            HelioError: the bytes are not what the digest says, or the registry refuses.
        """
        request = RegistryRequest(method="GET", path=f"manifests/{reference}", headers={"Accept": _ACCEPT})
        response = self._calls.call(repository, request, good=(200, 404))
        if response.status_code == 404:
            return None
        data = response.content
        expected = reference if is_digest(reference) else response.headers.get("Docker-Content-Digest", "")
        actual = of_bytes(data)
        if expected and expected != actual:
            raise mismatch(self.host, f"{repository}:{reference}", expected=expected, actual=actual, size=len(data))
        media_type = response.headers.get("Content-Type", MANIFEST).partition(";")[0]
        return Descriptor(media_type=media_type, digest=actual, size=len(data)), data

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str = MANIFEST) -> bool:
        """Push a manifest's bytes under a tag or its digest.

        Returns:
            Whether the registry itself lists the manifest under its ``subject`` (``OCI-Subject``).

        Raises:
            HelioError: the registry refuses, e.g. since a blob is missing, or stored other bytes.
        """
        request = RegistryRequest(
            method="PUT", path=f"manifests/{reference}", headers={"Content-Type": media_type}, body=lambda: data
        )
        # Some registries lose sight of a blob or manifest for the moment in which another publisher writes it again;
        # on a busy disk, to which what is written must come first, that moment can be many seconds long.
        policy = Tries(self.host, _WRITERS, first=0.1, sleep=self._pause)
        for last in policy:
            response = self._calls.call(repository, request, write=True, good=(201, 400, 404))
            if response.status_code == 201:
                break
            if last or b"BLOB_UNKNOWN" not in response.content:
                raise refusal(response)
            policy.failed(explain(response), response)
        stored, digest = response.headers.get("Docker-Content-Digest", ""), of_bytes(data)
        if stored and stored != digest:
            raise mismatch(self.host, f"{repository}:{reference}", expected=digest, actual=stored, size=len(data))
        return "OCI-Subject" in response.headers

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest, and every tag of it; say whether it is gone: registries may not allow it.

        Spec: "Deleting Manifests".
        """
        request = RegistryRequest(method="DELETE", path=f"manifests/{digest}")
        response = self._calls.call(repository, request, write=True, good=(200, 202, 400, 404, 405))
        return response.status_code in (200, 202, 404)

    def get_image(self, repository: str, reference: str, platform: Platform) -> Image | None:
        """Return an image's documents, by tag or digest, through an index if there is one; None if it is not there.

        Raises:
            HelioError: no manifest for the platform, or a document is malformed or not what its digest says.
        """
        where = f"{self.host}/{repository}:{reference}"
        answer = self.get_manifest(repository, reference)
        if answer and OCI_NAME.get(answer[0].media_type, answer[0].media_type) == INDEX:
            index = ImageIndex.parse(answer[1], f"{where} at index")
            digest = next((manifest.digest for manifest in index.manifests if manifest.platform == platform), None)
            if digest is None:
                raise HelioError(
                    Stage.PUBLISH,
                    f"`{where}` has no image for {platform}",
                    detail="it has "
                    + (", ".join(sorted(str(manifest.platform) for manifest in index.manifests)) or "none"),
                )
            answer = self.get_manifest(repository, digest)
        if answer is None:
            return None
        config = Manifest.parse(answer[1], f"{where} at manifest").config
        return Image.of(answer[1], self.get_bytes(repository, config), where)

    # -- blobs -------------------------------------------------------------------------------------------------------

    def has_blob(self, repository: str, digest: str) -> bool:
        """Say whether a repository has a blob."""
        return self._head_blob(repository, digest).status_code == 200

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Return a blob's size in bytes; None if the repository does not have it."""
        response = self._head_blob(repository, digest)
        length = response.headers.get("Content-Length", "")
        return int(length) if response.status_code == 200 and length.isdigit() else None

    def _head_blob(self, repository: str, digest: str) -> requests.Response:
        return self._calls.call(repository, RegistryRequest(method="HEAD", path=f"blobs/{digest}"), good=(200, 404))

    def get_bytes(self, repository: str, descriptor: Descriptor) -> bytes:
        """Return a small blob, verified.

        Raises:
            HelioError: missing, or not what the descriptor says.
        """
        if descriptor.size > MOST:
            raise HelioError(
                Stage.PUBLISH,
                f"the registry `{self.host}` has a document that is too large",
                where=f"{repository}@{descriptor.digest}",
                detail=f"expected at most {MOST:,} bytes not {descriptor.size:,}",
            )
        out = io.BytesIO()
        self.pull_blob(repository, descriptor, out)
        return out.getvalue()

    def pull_blob(self, repository: str, descriptor: Descriptor, out: IO[bytes]) -> None:
        """Write a blob of any size to ``out``; a dropped connection continues where it stopped.

        ``out`` must be discarded when this raises: its bytes are verified at the end.

        Raises:
            HelioError: missing, not what the descriptor says, or the connection drops too often.
        """
        download(self._calls, repository, descriptor, out, tries=self._tries, pause=self._pause)

    def push_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        source: Path,
        *,
        mount_from: Sequence[str] = (),
        advance: Callable[[int], None] = lambda _bytes: None,
        missing: bool = False,
    ) -> str:
        """Bring a blob into a repository in the cheapest way.

        Args:
            source: the file with the blob's bytes.
            mount_from: repositories of the same registry that may have it, likeliest first.
            advance: told of bytes as they are sent; of a negative number when they must be sent again.
            missing: the caller knows that the repository does not have it.

        Returns:
            ``present``, ``mounted`` or ``sent``.

        Raises:
            HelioError: the registry refuses it, or the connection drops too often.

        Spec: "Pushing blobs": "Mounting", "POST then PUT", "Pushing a blob in chunks".
        """
        if not missing and self.has_blob(repository, descriptor.digest):
            return "present"
        upload = None
        for other in mount_from:
            if other == repository:
                continue
            response = self._mount(repository, descriptor.digest, other)
            if response is None:
                continue
            # 202: the mount did not happen and an ordinary upload is open instead; one of these is enough.
            if upload:
                with contextlib.suppress(HelioError):
                    upload.cancel()
            if response.status_code == 201:
                return "mounted"
            upload = self._open(repository, response, advance)
        with open(source, "rb") as file:
            self._send(repository, descriptor, file, upload, advance)
        return "sent"

    def mount_blob(self, repository: str, digest: str, mount_from: Sequence[str]) -> bool:
        """Bring a blob into a repository without its bytes; say whether it is there now.

        Args:
            mount_from: repositories of the same registry that may have it, likeliest first.

        Spec: "Pushing blobs": "Mounting".
        """
        for other in mount_from:
            response = self._mount(repository, digest, other) if other != repository else None
            if response is not None and response.status_code == 201:
                return True
            if response is not None:
                # 202: an upload is open instead, and nobody has the bytes.
                with contextlib.suppress(HelioError):
                    self._open(repository, response, lambda _bytes: None).cancel()
        return False

    def push_bytes(self, repository: str, descriptor: Descriptor, data: bytes) -> None:
        """Push a small blob, unless it is there.

        Raises:
            HelioError: the registry refuses it.
        """
        if not self.has_blob(repository, descriptor.digest):
            self._send(repository, descriptor, io.BytesIO(data), None, lambda _bytes: None)

    def _mount(self, repository: str, digest: str, other: str) -> requests.Response | None:
        """Return the answer to a mount, 201 or 202; None where it is refused, for whatever reason: bytes are sent then.

        A mount only saves time. Registries that do not let us read the other repository, or know no mounts, say so with
        various numbers, or with a token server that refuses; they are not asked again for that pair.
        """
        name, source = repository_in(self.host, repository), repository_in(self.host, other)
        if (name, source) in self._unmountable:
            return None
        path = f"/v2/{name}/blobs/uploads/?mount={quote(digest)}&from={quote(source)}"
        scope = f"{scope_of(name, 'pull,push')} {scope_of(source, 'pull')}"
        try:
            response = self._http.request(RegistryRequest(method="POST", path=path), scope=scope, tries=1)
        except HelioError:
            response = None
        if response is not None and response.status_code == 201:
            return response
        if response is not None and response.status_code == 202 and response.headers.get("Location"):
            return response
        # 404 may be said of this blob only.
        if response is None or response.status_code != 404:
            self._unmountable.add((name, source))
        return None

    def _send(
        self,
        repository: str,
        descriptor: Descriptor,
        file: IO[bytes],
        upload: Upload | None,
        advance: Callable[[int], None],
    ) -> None:
        best, policy = 0, Tries(self.host, self._tries, sleep=self._pause)
        for last in policy:
            if upload is None:
                request = RegistryRequest(method="POST", path="blobs/uploads/")
                response = self._calls.call(repository, request, write=True, good=(202,))
                upload = self._open(repository, response, advance)
            try:
                upload.send(descriptor, file)
                return
            except Dropped as dropped:
                # The blob may have arrived whole, with only the answer lost.
                if self.has_blob(repository, descriptor.digest):
                    return
                upload = upload if upload.resume() else None
                if upload and upload.offset > best:
                    best = upload.offset
                    policy.renew()
                elif last:
                    raise dropped.error from dropped
                policy.failed("an upload broke off")

    def _open(self, repository: str, response: requests.Response, advance: Callable[[int], None]) -> Upload:
        name = repository_in(self.host, repository)
        return Upload(self._http, name, response, chunk=self._chunk, advance=advance)

    # -- tags and referrers ------------------------------------------------------------------------------------------

    def tags(self, repository: str) -> tuple[str, ...]:
        """Return all tags of a repository, sorted; none when the repository is not there.

        Raises:
            HelioError: the registry refuses, or its list is malformed.
        """
        names: set[str] = set()
        for response in self._calls.pages(repository, "tags/list?n=1000"):
            document = load(response.content, f"{self.host}/{repository} at tags")
            # Go's registries write null for an empty list.
            names.update(node(document, f"{self.host}/{repository} at tags").strings("tags"))
        return tuple(sorted(names))

    def repositories(self) -> tuple[str, ...]:
        """Return the names of repositories, the first thousand; none where the registry does not tell, as public ones.

        It is asked once, for a hint.

        Spec: distribution, "Listing Repositories".
        """
        request = RegistryRequest(method="GET", path="/v2/_catalog?n=1000")
        try:
            response = self._http.request(request, scope="registry:catalog:*", tries=1)
            if response.status_code != 200:
                return ()
            where = f"{self.host} at repositories"
            return node(load(response.content, where), where).strings("repositories")
        except HelioError:
            return ()

    def referrers(self, repository: str, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return the artifacts (SBOM, report, …) that refer to a manifest, in the registry's order.

        Raises:
            HelioError: the registry refuses, or its list is malformed.

        Spec: "Listing Referrers"; "Unavailable Referrers API": the index under the tag ``sha256-<hex>``.
        """
        referrers: list[Descriptor] = []
        query = f"?artifactType={quote(artifact_type)}" if artifact_type else ""
        for response in self._calls.pages(repository, f"referrers/{digest}{query}", absent=_NO_REFERRERS):
            # What some old ones answer to an address that they do not know is a page for people.
            if "json" not in response.headers.get("Content-Type", "json"):
                break
            referrers += ImageIndex.parse(response.content, f"{self.host}/{repository} at referrers").manifests
        referrers = referrers or list(referrers_tag.listed(self, repository, digest))
        return tuple(referrer for referrer in referrers if artifact_type in ("", referrer.artifact_type))

    def attach(self, repository: str, manifest: Manifest) -> str:
        """Push an artifact's manifest so that `referrers` of its subject lists it, and return its digest.

        Its blobs must be there. On registries without the referrers API the index under the subject's tag is kept.

        Raises:
            HelioError: the manifest has no subject, or the registry refuses.
        """
        if manifest.subject is None:
            raise HelioError(Stage.PUBLISH, "an artifact without a subject refers to nothing")
        data = manifest.dump()
        digest = of_bytes(data)
        if not self.put_manifest(repository, digest, data):
            subject = manifest.subject.digest
            referrer = Descriptor(
                media_type=MANIFEST,
                digest=digest,
                size=len(data),
                artifact_type=manifest.artifact_type or manifest.config.media_type,
                annotations=manifest.annotations,
            )
            referrers_tag.add(self, repository, subject, referrer, tries=self._tries)
        return digest
