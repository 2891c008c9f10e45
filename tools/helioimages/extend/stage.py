"""The stage `extend`: a repository and a published image in, an image with its tag out; or an error, and no image."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from .. import __version__
from ..core import files
from ..core.digest import key_of
from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..core.progress import say, stage
from ..core.words import count, human_size
from ..make import provision
from ..make.labels import BASE_DIGEST
from ..make.machine import Machine
from ..oci.image import Addition, Image, Settings, append, rfc3339
from ..oci.reference import Reference, is_repository
from ..oci.registry import Registry
from ..publish import documents, push, sbom
from ..publish.contents import dump_list
from ..publish.documents import PACKAGES, Document
from ..publish.holdings import LATEST
from ..pypi.ecosystem import PYPI
from ..pypi.lock import PyPILock
from ..spec import tags
from . import binder, covered, layers, lock_file, parent, projects, solve
from .asked import RepositoryRequests
from .containers import Command, session
from .interpreter import blob
from .layers import PLACE, Added, ContainerDifference
from .parent import Parent
from .repository import Repository

#: What an image says of itself whose bytes came of a postBuild.
NOT_REPRODUCIBLE = "io.helioimages.post-build"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendOrder:
    """What is made, and where.

    Attributes:
        source: reference of the image that is extended.
        platform: what it is for.
        name: repository of the result; empty is the source's own name.
        prefix: put before the name.
        write_lock: write the lock into the repository.
        timeout_s: seconds that postBuild may take, and the build of a package.
        network: of postBuild: ``bridge``, or ``none``.
    """

    source: Reference
    platform: Platform
    name: str = ""
    prefix: str = ""
    write_lock: bool = False
    timeout_s: float = 1800
    network: str = "bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """An image that was made.

    Attributes:
        reference: by digest.
        tags: that name it.
        parent: reference of the image that it extends, by digest.
        added: name -> version of the packages that it adds.
        bytes_added: of its own layers: what a node with the parent pulls.
        reproducible: no postBuild ran.
        lock: the file that was written into the repository, empty if none was.
    """

    reference: str
    tags: tuple[str, ...]
    parent: str
    added: Mapping[str, str]
    bytes_added: int
    reproducible: bool
    lock: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extension:
    """What one run works on."""

    repository: Repository
    asked: RepositoryRequests
    parent: Parent
    order: ExtendOrder
    machine: Machine
    target: Registry
    name: str
    connect: Callable[[str], Registry]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Locked:
    """What the image adds: the lock of the index's packages, all wheels, and the lock as a file."""

    lock: PyPILock
    added: Added
    file: str
    text: str
    written: bool

    @property
    def digest(self) -> str:
        """Names the wheels: what else decides the image's bytes is its parent and the repository."""
        return key_of([[wheel.file_name, wheel.sha256] for wheel in self.added.wheels])


def extend(
    repository: Repository, order: ExtendOrder, machine: Machine, connect: Callable[[str], Registry], target: Registry
) -> Extended:
    """Make an image of a repository on top of a published one, and push it with its tag.

    Args:
        connect: opens a registry by its host.
        target: where the image goes.

    Raises:
        HelioError: the repository asks for what cannot be had, its postBuild fails, or a registry refuses.
    """
    name = order.prefix + (order.name or repository.name)
    if not is_repository(name):
        raise HelioError(
            Stage.USAGE,
            f"`{name}` cannot be a repository",
            where="--name",
            detail="expected lower-case letters and digits, with single . _ - or / between them",
        )
    asked = binder.read(repository)
    for note in asked.notes:
        say(f"note: {note}")
    if repository.warning:
        say(f"warning: {repository.warning}")
    with connect(order.source.host) as client:
        below = parent.find(client, order.source, machine.store, order.platform)
        if (client.host, name) == (target.host, below.repository):
            raise HelioError(
                Stage.USAGE, f"`{name}` would replace the image that it extends", hint="name another one with --name"
            )
        work = _Extension(
            repository=repository,
            asked=solve.of_parent(asked, below),
            parent=below,
            order=order,
            machine=machine,
            target=target,
            name=name,
            connect=connect,
        )
        _check_debian(work)
        with stage(f"lock {name}"):
            locked = _locked(work)
            # The image has the lock, whether the repository keeps it or not: both give the same image.
            work = replace(work, repository=repository.having(locked.file, locked.text))
        with stage(f"image {name}"):
            image = _image(work, locked)
        if asked.post_build:
            with stage(f"postBuild of {name}"):
                image = _post_built(work, image)
        return _published(work, image, locked)


def _check_debian(work: _Extension) -> None:
    """Refuse Debian packages that the image does not have: they cannot be added to a published one."""
    below = work.parent
    have = {package.name: package.version for package in below.packages if package.kind == "debian"}
    for package in work.asked.debian:
        name, _, version = package.text.partition("=")
        if name not in have:
            raise package.place.fault(
                f"`{name}` is a Debian package that `{below.name}` does not have",
                detail="Debian packages lie below the Python of an image: they cannot be added on top",
                hint="extend an image that has it (idl-fortran has compilers), or build the repository with "
                "repo2docker: it installs Debian packages",
            )
        if version and version != have[name]:
            raise package.place.fault(
                f"`{package.text}` contradicts the image",
                detail=f"`{work.parent.name}` has {name} {have[name]}",
                hint="ask for it without a version",
            )


def _locked(work: _Extension) -> _Locked:
    """Return the packages that the image adds, pinned and fetched."""
    repository, below, machine = work.repository, work.parent, work.machine
    file = lock_file.path(below.repository, work.asked.configuration)
    text = repository.read(file)
    before = lock_file.parse(text, file) if text is not None else None
    wanted = solve.requirements(work.asked, below)
    shop = projects.Shop(
        parent=below,
        store=machine.store,
        engine=lambda: machine.engine,
        index=lambda: machine.index,
        jobs=machine.jobs,
        timeout_s=work.order.timeout_s,
    )
    local = projects.of_projects(shop, repository, work.asked.projects, before.commits if before else {})
    question = solve.AdditionQuestion(
        parent=below,
        wanted=wanted,
        limits=work.asked.constraints,
        locals=local,
        before=before.lock if before else None,
    )
    lock = PyPILock(python=below.minor, platform=below.platform, content_hash=question.key, wheels=())
    if wanted or local:
        lock = solve.answer(question, machine.index, machine.store)
    built = projects.of_sdists(shop, lock.unbuilt, file)
    lock = replace(lock, wheels=tuple(sorted((*lock.wheels, *(wheel for wheel, _ in built)), key=attrgetter("name"))))
    paths = {wheel.sha256: path for wheel, path in built}
    paths |= _again(shop, lock, file, paths)
    fetched = [wheel for wheel in lock.wheels if not wheel.built]
    paths |= provision.wheels(machine.store, fetched, file, lambda: machine.index, jobs=max(8, machine.jobs))
    paths |= {project.wheel.sha256: project.path for project in local}
    now = lock_file.dump(lock, (project.source for project in local), file)
    written = work.order.write_lock and now != text
    if written:
        files.write(repository.folder / file, now)
    wheels = tuple(sorted((*lock.wheels, *(project.wheel for project in local)), key=attrgetter("name")))
    return _Locked(lock=lock, added=Added(wheels=wheels, paths=paths), file=file, text=now, written=written)


def _again(shop: projects.Shop, lock: PyPILock, file: str, have: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of wheels that a lock has as built, and the store too; else they are built again.

    Raises:
        HelioError: another wheel came out than the one that is locked.
    """
    missing = {wheel.name: wheel for wheel in lock.wheels if wheel.built and wheel.sha256 not in have}
    again = [sdist for sdist in lock.sdists if sdist.name in missing]
    path_by_sha256 = {}
    for wheel, path in projects.of_sdists(shop, again, file):
        if wheel.sha256 != missing[wheel.name].sha256:
            raise HelioError(
                Stage.LOCK,
                f"`{wheel.file_name}` was built again, and is another one",
                where=file,
                detail=f"expected sha256:{missing[wheel.name].sha256} not sha256:{wheel.sha256}",
                hint=f"delete {file}, and write it again with --write-lock",
            )
        path_by_sha256[wheel.sha256] = path
    return path_by_sha256


def _image(work: _Extension, locked: _Locked) -> Image:
    """Return the image without what postBuild makes; its own blobs are in the store."""
    below, repository, asked = work.parent, work.repository, work.asked
    store = work.machine.store
    additions = layers.of_packages(
        below, locked.added, store, work.machine.jobs, lambda: covered.files_of(below, store, work.connect)
    )
    programs = [path for path in (asked.post_build, asked.start) if path]
    additions.append(layers.of_files(below, repository, programs, store))
    for addition in additions:
        say(f"    {addition.created_by.removeprefix('ADD ')}: {human_size(addition.layer.size)}")
    config = below.image.config
    entrypoint = None
    if asked.start:
        entrypoint = (*(config.entrypoint or ()), f"{PLACE}/{asked.start}")
    settings = Settings(
        env={**_names(work, locked), **asked.variables},
        labels=_labels(work, locked),
        working_dir=below.home,
        entrypoint=entrypoint,
        cmd=config.cmd,
    )
    return _kept(
        work, append(below.image, additions, settings, platform=below.platform, created_epoch=_epoch(work, locked))
    )


def _kept(work: _Extension, image: Image) -> Image:
    work.machine.store.put_blob(image.config_bytes)
    work.machine.store.put_blob(image.manifest_bytes)
    return image


def _epoch(work: _Extension, locked: _Locked) -> int:
    """Return the time of the image: of the newest package, never the clock."""
    said = work.parent.image.config.created
    try:
        before = int(datetime.datetime.fromisoformat(said or "").timestamp())
    except ValueError:
        before = 0
    return max(before, locked.lock.timestamp)


def _digest(work: _Extension, locked: _Locked) -> str:
    """Return a digest of all that decides the image's bytes, but for a postBuild."""
    return "sha256:" + key_of([work.parent.image.digest, locked.digest, work.repository.digest])


def _names(work: _Extension, locked: _Locked) -> dict[str, str]:
    """Return the variables by which the parent names itself, with this image's values."""
    ours = {"IMAGE": work.name.rpartition("/")[2], "LOCK": _digest(work, locked)}
    there = {line.partition("=")[0] for line in work.parent.image.config.env}
    return {f"HELIOIMAGES_{word}": value for word, value in ours.items() if f"HELIOIMAGES_{word}" in there}


def _labels(work: _Extension, locked: _Locked) -> dict[str, str]:
    repository, digest, created = work.repository, _digest(work, locked), rfc3339(_epoch(work, locked))
    labels = {
        "org.opencontainers.image.title": repository.name,
        "org.opencontainers.image.description": f"{repository.source} on top of {work.parent.name}",
        "org.opencontainers.image.revision": repository.commit or repository.digest,
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.version": created[:10].replace("-", "."),
        "org.opencontainers.image.base.name": f"{work.parent.client.host}/{work.parent.name}",
        BASE_DIGEST: work.parent.image.digest,
        "io.helioimages.lock": digest,
    }
    if "://" in repository.source:
        labels["org.opencontainers.image.source"] = repository.source
    return labels


def _post_built(work: _Extension, image: Image) -> Image:
    """Run postBuild in the image and return the image with what it changed in the home.

    Raises:
        HelioError: it failed or did not end.
    """
    below, file = work.parent, work.asked.post_build
    pushed = _pushed(work, image)
    command = Command(
        argv=("/bin/bash", "-c", f'exec "{below.home}/$0"', file),
        folder=below.home,
        env={},
        network=work.order.network,
        timeout_s=work.order.timeout_s,
        what=f"`{file}`",
    )
    engine = work.machine.engine
    try:
        with session(engine, pushed, command, work.machine.store.root / "tmp") as box:
            if code := box.run():
                raise HelioError(
                    Stage.BUILD,
                    f"`{file}` failed",
                    where=file,
                    detail=f"{box.log()}\nit ended with exit status {code}",
                    hint="it runs as the image's user, in the home; no image was made",
                )
            with box.archive(below.home) as tar:
                difference = ContainerDifference(home=below.home, tar=tar, changed=box.changed())
                addition = layers.of_difference(difference, work.machine.store)
            if others := layers.left_out(difference):
                changed = count(len(others), "path")
                say(f"note: left out, since it is not in the home: {changed} that postBuild changed: {others[0]} …")
    finally:
        # What has no tag and no postBuild is nobody's.
        with contextlib.suppress(HelioError):
            work.target.delete_manifest(work.name, image.digest)
        with contextlib.suppress(Exception):
            engine.client.images.remove(pushed)
    say("note: what postBuild made is in a layer of its own; another run makes other bytes")
    settings = Settings(labels={NOT_REPRODUCIBLE: file})
    added: Sequence[Addition] = [addition] if addition else []
    created = int(datetime.datetime.fromisoformat(image.config.created or "").timestamp())
    return _kept(work, append(image, added, settings, platform=below.platform, created_epoch=created))


def _pushed(work: _Extension, image: Image) -> str:
    """Push an image by its digest and return the reference; the parent's blobs come from where they are."""
    below, target, store = work.parent, work.target, work.machine.store
    target.expect_push(work.name)
    same = below.client.host == target.host
    for layer in below.image.layers:
        if store.blob(layer.digest).exists() or target.has_blob(work.name, layer.digest):
            continue
        try:
            # In one registry nothing needs to travel.
            source = (below.repository,) if same else ()
            target.push_blob(work.name, layer, store.blob(layer.digest), mount_from=source, missing=True)
        except FileNotFoundError:
            blob(below, store, layer)
    parents = [below.repository] if same else []
    return push.push_untagged(target, image, work.name, store, jobs=work.machine.jobs, mount_from=parents).reference


def _published(work: _Extension, image: Image, locked: _Locked) -> Extended:
    reference = _pushed(work, image)
    named = [LATEST]
    if not work.asked.post_build:
        named.append(tags.of_lock(_digest(work, locked)))
    packages = _packages(work, locked)
    listed = Document(name="packages.json", media_type=PACKAGES, data=dump_list(packages))
    attached = documents.Attachment(artifact_type=PACKAGES, files=(listed,))
    documents.attach_files(work.target, work.name, image, attached, work.machine.store)
    # With the files of packages: who extends this image pins them, as this one did.
    described = sbom.Described(name=work.name.rpartition("/")[2], digest=image.digest, epoch=_epoch(work, locked))
    parts = tuple(sbom.Component(package=package, files=()) for package in packages)
    told = Document(name="sbom.spdx.json", media_type=sbom.SPDX, data=sbom.spdx_of(described, parts, __version__))
    attached = documents.Attachment(artifact_type=sbom.SPDX, files=(told,))
    documents.attach_files(work.target, work.name, image, attached, work.machine.store)
    push.promote(work.target, work.name, image.digest, named)
    have = {layer.digest for layer in work.parent.image.layers}
    return Extended(
        reference=reference,
        tags=tuple(f"{work.target.host}/{work.name}:{tag}" for tag in named),
        parent=work.parent.reference,
        added={wheel.name: wheel.version for wheel in locked.added.wheels},
        bytes_added=sum(layer.size for layer in image.layers if layer.digest not in have),
        reproducible=not work.asked.post_build,
        lock=locked.file if locked.written else "",
    )


def _packages(work: _Extension, locked: _Locked) -> tuple[Package, ...]:
    return (*work.parent.packages, *PYPI.packages(replace(locked.lock, wheels=locked.added.wheels)))
