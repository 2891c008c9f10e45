"""The pipeline's verbs as functions: each stage with what it needs, connected late.

`Workspace` is one checkout and one store. It starts an engine or a registry only when a stage asks for one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.progress import say, stage
from ..engines import engine, registry_server
from ..locks import file_names, healing, locking
from ..locks.checkout import Checkout
from ..machine.store import Store
from ..make import building, inputs, provision, render, toolchain
from ..make.builder import Builder
from ..make.building import Built
from ..make.channel import build_channel
from ..make.sources import WheelBuilder
from ..oci.layout import write_layout
from ..oci.reference import is_loopback
from ..oci.registry import Registry
from ..publish import attach, documents
from ..publish import push as publish
from ..publish.credentials import from_docker_config
from ..pypi import resolve
from ..pypi.index import Index
from ..smoke import run
from ..spec import tags
from ..spec.lineage import lineage

TEMPLATE = "images/Dockerfile.j2"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One image that was published: reference by digest, its tags, what was sent and in what time."""

    image: str
    reference: str
    tags: tuple[str, ...]
    bytes_sent: int
    seconds: float
    report: str


class Workspace:
    """One checkout and one store.

    Args:
        root: the checkout.
        jobs: processes and downloads at once.
        platform: what images are built for, e.g. ``linux/amd64``.
        channel: ``local`` or ``conda-forge``: which of the conda locks is built.
    """

    def __init__(
        self, root: Path, store: Store, *, jobs: int, platform: str = "linux/amd64", channel: str = "local"
    ) -> None:
        self.root, self.store, self.jobs, self.platform, self.channel = root, store, jobs, platform, channel
        self.checkout = Checkout.of(root, platform=platform, channel=channel)
        self.images, self.environments = self.checkout.images, self.checkout.environments

    @cached_property
    def engine(self) -> engine.Engine:
        """The container engine, started if none runs."""
        return engine.connect(self.store)

    @cached_property
    def index(self) -> Index:
        """The configured package index."""
        return Index(resolve.places(), self.store.root / "cache" / "index")

    @cached_property
    def builder(self) -> Builder:
        """The builder of the local channel and of source-only packages."""
        return provision.builder(
            self.root, self.store, lambda: self.engine.client, jobs=self.jobs, platform=self.platform
        )

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the images that a verb shall make: those named, else all but the heavy ones, which it says.

        Raises:
            HelioError: there is no such image.
        """
        light = tuple(name for name, image in self.images.items() if not image.heavy)
        if names or not light:
            return self.checkout.selected(names)
        if heavy := [name for name in self.images if name not in light]:
            say(f"==> left out, as heavy: {', '.join(heavy)} (name an image to have it)")
        return light

    def channel_dir(self) -> Path:
        """Return the local channel's folder, compiled if the store lacks it."""
        with stage("local channel"):
            return build_channel(self.store, self.root, self.builder, jobs=self.jobs, platform=self.platform)

    def lock(
        self,
        names: Sequence[str],
        *,
        check: bool,
        update: Sequence[str],
        exclude_newer: datetime.datetime | None,
        channel_dirs: Sequence[Path],
        rebuild: bool = False,
    ) -> locking.Report:
        """Lock environments and images; see `locking.lock`."""
        dirs = tuple(channel_dirs)
        if not dirs and not check:
            if self.channel != "local":
                raise HelioError(
                    Stage.LOCK,
                    f"the records of `{self.channel}` are not here",
                    hint="give the folder of its repodata with --channel-dir",
                )
            dirs = (self.channel_dir(),)
        return locking.lock(
            self.root,
            self.store,
            names,
            channel=self.channel,
            platform=self.platform,
            update=update,
            exclude_newer=exclude_newer,
            check=check,
            channel_dirs=dirs,
            build_wheels=self._wheel_builder(dirs[0]).for_lock if dirs and self.channel == "local" else None,
            rebuild=rebuild,
        )

    def _wheel_builder(self, channel_dir: Path | None = None) -> WheelBuilder:
        return WheelBuilder(
            root=self.root,
            store=self.store,
            builder=lambda: self.builder,
            index=lambda: self.index,
            channel_dir=channel_dir,
            platform=self.platform,
            jobs=self.jobs,
        )

    def heal(self, names: Sequence[str], *, strict: bool) -> None:
        """Follow the Debian mirror where it dropped locked packages; see `healing`.

        A healed builder may compile other bytes, so the packages it makes are locked again too; if that fails, the
        locks are left as they were.
        """
        line = dict.fromkeys(one.name for name in self.checkout.selected(names) for one in lineage(self.images, name))
        found = self.checkout.locks_of(self.checkout.selected(names))
        made = [
            package.sha256
            for lock in found.values()
            for package in lock.conda.packages
            if lock.conda.channel == "local"
        ]
        made += [wheel.sha256 for lock in found.values() for wheel in lock.pypi.wheels if wheel.built]
        needs_builder = not all(self.store.artefact(sha256).exists() for sha256 in made)
        images = [self.images[name] for name in self.images if name in line]
        with healing.undone(self.root, images, platform=self.platform):
            healed = healing.heal(
                self.root, self.store, images, builder=needs_builder, strict=strict, platform=self.platform
            )
            if file_names.builder_lock(self.platform) in healed:
                say("warning: the builder was healed: what it makes is locked again")
                # The local channel's Python builds wheels, whichever channel images are made from.
                local = Workspace(self.root, self.store, jobs=self.jobs, platform=self.platform)
                local.lock((), check=False, update=(), exclude_newer=None, channel_dirs=(), rebuild=True)

    def build(self, names: Sequence[str], *, strict: bool = False) -> dict[str, Built]:
        """Build images after their ancestors, and return all of them by name.

        Args:
            strict: refuse to build when the Debian mirror dropped a locked package, instead of healing the lock.
        """
        self.heal(names, strict=strict)
        found = self.checkout.locks_of(self.checkout.selected(names))
        subdir = Platform.of(self.platform).subdir
        with stage("artefacts"):
            paths = provision.packages(
                self.root,
                self.store,
                tuple(found.values()),
                lambda: self.index,
                lambda: self.builder,
                platform=self.platform,
                jobs=max(8, self.jobs),
            )
            for name, lock in found.items():
                paths |= self._wheel_builder().for_build(self.environments[self.images[name].environment], lock, paths)
        plans = inputs.plans(self.checkout, found)
        oldest = next(iter(found.values()))
        shop = building.Workshop(
            store=self.store,
            paths=paths,
            interpreter=toolchain.unpack_toolchain(self.store, oldest, paths, subdir),
            jobs=self.jobs,
        )
        done: dict[str, Built] = {}
        with stage("layers and images"):
            for name, plan in plans.items():
                built = building.build(shop, plan, done)
                size, count = built.image.size / 1e6, len(built.image.layers)
                say(f"    {name}: {built.image.digest} {count} layers ({built.fresh} new), {size:,.0f} MB")
        return done

    def render(self, built: Mapping[str, Built], *, check: bool) -> None:
        """Write the Dockerfiles of images, or compare them with the committed ones."""
        template = (self.root / TEMPLATE).read_text("utf-8")
        for name, one in built.items():
            path = self.root / "images" / name / "Dockerfile"
            if check:
                healed = one.locks.apt.healed
                for line in healed:
                    say(f"warning: {name} has healed Debian packages, so only its other layers are compared: {line}")
                render.check(_recipe(one), template, path, f"images/{name}/Dockerfile", healed=bool(healed))
            else:
                path.write_text(render.dockerfile(_recipe(one), template), "utf-8")

    def context(self, built: Built, folder: Path) -> None:
        """Lay out a folder that a plain ``docker build`` turns into the image: its Dockerfile and its own layers."""
        layers = folder / "layers"
        layers.mkdir(parents=True, exist_ok=True)
        template = (self.root / TEMPLATE).read_text("utf-8")
        (folder / "Dockerfile").write_text(render.dockerfile(_recipe(built), template), "utf-8")
        for layer in built.layers:
            target = layers / f"{layer.layer.diff_id.removeprefix('sha256:')}.tar.gz"
            target.unlink(missing_ok=True)
            try:
                os.link(self.store.blob(layer.layer.digest), target)
            except OSError:
                shutil.copyfile(self.store.blob(layer.layer.digest), target)

    def layout(self, built: Mapping[str, Built], folder: Path) -> None:
        """Write images as an OCI layout, by name."""
        write_layout(folder, {name: one.image for name, one in built.items()}, self.store.blob)

    def registry(self, host: str | None) -> Registry:
        """Return a client of a registry; of the embedded one, started, if no host is given."""
        if host is None:
            host = registry_server.start(self.store.root).host
        publish.check_place(host)
        return Registry(host, credentials=from_docker_config())

    def push(self, client: Registry, built: Built, prefix: str) -> publish.PushReport:
        """Push an image by digest, its parent's layers mounted from the parent's repository."""
        parents = [prefix + one.spec.name for one in reversed(built.line[:-1])]
        return publish.push_untagged(
            client, built.image, prefix + built.spec.name, self.store, jobs=self.jobs, mount_from=parents
        )

    def smoke(self, built: Built, reference: str, out: Path, **options: Any) -> run.SmokeReport:
        """Run an image's notebooks and its ancestors' in the image; raise if one fails.

        Raises:
            HelioError: a notebook failed; the report's path is in the hint.
        """
        line = lineage(self.images, built.spec.name)
        report = run.smoke(self.engine, reference, built.spec, line, self.root, out, **options)
        if not report.passed:
            failed = [result for result in report.results if result.status != "passed"]
            raise HelioError(
                Stage.SMOKE,
                f"{len(failed)} of {len(report.results)} notebooks failed in `{built.spec.name}`",
                where=reference,
                detail="\n".join(f"{one.name}: {one.status} {one.summary}" for one in failed),
                hint=f"open {out / 'report.html'}",
            )
        return report

    def publish(
        self,
        names: Sequence[str],
        *,
        host: str | None,
        prefix: str,
        out: Path,
        reuse: bool = True,
        key: Path | None = None,
        before_tag: str = "",
    ) -> tuple[Published, ...]:
        """Build, push by digest, smoke that digest, then tag: test before tag.

        Args:
            host: of the registry; None is the embedded one.
            prefix: put before image names, e.g. ``heliocloud/``.
            out: where reports go, a folder an image.
            reuse: an image whose notebooks passed before, unchanged, is not run again.
            key: signs the image and its documents; None signs nothing.
            before_tag: a command that must succeed with the image's reference before tags name it.
        """
        wanted = self.checkout.selected(names)
        publish.check_place(host, [prefix + name for name in wanted])
        if before_tag:
            publish.words_of(before_tag)
        if key is not None:
            attach.check_key(key)
        # What a shared registry gets is what was committed and reviewed, nothing healed on the way.
        done = self.build(names, strict=host is not None and not is_loopback(host))
        published, signed = [], key is not None or bool(before_tag)
        client = self.registry(host)
        with client:
            for name, built in done.items():
                if name not in wanted:
                    continue
                with stage(f"publish {name}"):
                    pushed = self.push(client, built, prefix)
                    self._smoke_once(built, pushed.reference, out / name, reuse=reuse)
                    repository = prefix + name
                    documents.attach(client, repository, built, out / name, self.store)
                    others = documents.unsigned(built, out / name) if signed else ()
                    attach.attach(client, repository, built, self.root, self.store, key=key, others=others)
                    if before_tag:
                        said = out / name / "predicates"
                        attach.write_predicates(client, repository, built, self.root, self.store, others, said)
                        publish.approve(before_tag, pushed.reference, said)
                    day = datetime.datetime.fromtimestamp(built.locks.epoch, datetime.UTC).date()
                    plan = tags.plan(
                        digest=built.image.digest,
                        day=day,
                        lock=built.locks.digest,
                        existing=publish.existing_tags(client, repository),
                    )
                    publish.promote(client, repository, built.image.digest, plan.missing)
                published.append(
                    Published(
                        image=name,
                        reference=pushed.reference,
                        tags=plan.wanted,
                        bytes_sent=pushed.bytes_sent,
                        seconds=pushed.seconds,
                        report=str(out / name / "report.html"),
                    )
                )
        return tuple(published)

    def _smoke_once(self, built: Built, reference: str, out: Path, *, reuse: bool) -> None:
        line = lineage(self.images, built.spec.name)
        key = run.key(built.image.digest, line, self.root)
        if reuse and documents.passed(self.store, key, out, built.image.digest):
            say(f"    notebooks of {built.spec.name} passed before in this very image; not run again")
            return
        self.smoke(built, reference, out)
        documents.remember_passed(self.store, key, out, built.image.digest)


def _recipe(built: Built) -> render.Recipe:
    return render.recipe_of(built.plan, [layer.layer.diff_id for layer in built.layers])


def as_json(value: object) -> str:
    """Return a dataclass or a sequence of them as JSON for machines."""

    def plain(one: Any) -> object:
        return dataclasses.asdict(one) if dataclasses.is_dataclass(one) and not isinstance(one, type) else str(one)

    return json.dumps(value, default=plain, indent=2, sort_keys=True)
