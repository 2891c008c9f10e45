"""The stages that make images: `build`, and what a built image is written as."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..cache import access
from ..cache.access import Cache
from ..core.errors import HelioError, Stage
from ..core.progress import say, stage
from ..core.words import count, human_size
from ..locks import stale
from ..locks.checkout import Checkout
from ..locks.read import Locks
from ..machine.store import Store, has
from ..oci.layout import write_layout
from . import building, inputs, lending, provision, systems, toolchain, travel
from . import render as rendering
from .building import Built
from .machine import Machine
from .plan import ImagePlan, LayerKind
from .relocking import heal, script_runner, wheel_builder

TEMPLATE = "images/Dockerfile.j2"
#: Downloads at once, at least: they wait for others, not for a processor.
_DOWNLOADS = 8


def build(
    checkout: Checkout,
    machine: Machine,
    names: Sequence[str],
    *,
    strict: bool = False,
    ready: Callable[[Built], None] = lambda _: None,
    lenders: Sequence[Cache] = (),
) -> dict[str, Built]:
    """Build images after their ancestors, and return all of them by name.

    Args:
        ready: called with each when it is built, parents first.
        strict: refuse to build when the Debian mirror dropped a locked package, instead of healing the lock.
        lenders: caches in the registry that is published to; layers that they have stay there (see `lending`).

    Raises:
        Unproven: an image does not come out as committed on layers that stay elsewhere.
        HelioError: a lock is missing or stale, a package cannot be had or made, or files of packages clash.
    """
    locks = checkout.locks_of(checkout.selected(names))
    stale.check(checkout, locks, healed=False)
    plans = inputs.plans(checkout, locks)
    others = [cache for cache in machine.caches if cache not in lenders]
    cached_by_key = travel.known(machine.store, (*lenders, *others), plans.values())
    lending.borrow(
        machine.store,
        {key: cached for key, cached in cached_by_key.items() if cached.cache in lenders},
        plans.values(),
        checkout.root,
    )
    travel.bring(machine.store, cached_by_key, plans.values(), jobs=machine.jobs)
    wanted = _wanted(machine, plans)
    lacking = {sha256 for sha256, size in wanted.items() if not has(machine.store.artefact(sha256), size)}
    # What an index or a channel has is fetched from there: the Debian mirror is asked only for what needs its packages.
    if lacking - _of_indexes(locks):
        heal(checkout, machine, names, strict=strict)
        locks = checkout.locks_of(checkout.selected(names))
        plans = inputs.plans(checkout, locks)
        wanted = _wanted(machine, plans)
    stale.check(checkout, locks)
    missing = travel.missing(machine.store, plans.values())
    oldest, subdir = next(iter(locks.values())), checkout.platform.subdir
    links = any(layer.kind is LayerKind.PACKAGES for _, layer in missing)
    done: dict[str, Built] = {}
    with systems.beside(machine.store, jobs=machine.jobs) as debian:
        paths = _fetched(checkout, machine, locks, wanted, partial(debian.begin, missing))
        interpreter = toolchain.unpack_toolchain(machine.store, oldest, paths, subdir) if links else None
        with stage("layers and images"):
            for name, plan in plans.items():
                if done:
                    debian.go_on()
                # Whoever waits for a parent does not wait for what its children alone need.
                paths |= _compiled(checkout, machine, name, locks[name], paths, wanted)
                shop = building.Workshop(
                    store=machine.store,
                    paths=paths,
                    interpreter=interpreter,
                    debian=debian.layers,
                    jobs=machine.jobs,
                )
                built = building.build(shop, plan, done)
                layers = count(len(built.image.layers), "layer")
                say(f"    {name}: {built.image.digest} {layers} ({built.fresh} new), {human_size(built.image.size)}")
                lending.check(machine.store, checkout.root, built)
                # An engine that pulls this image leaves processors to one more.
                debian.go_on()
                ready(built)
    return done


def metadata(checkout: Checkout, machine: Machine, names: Sequence[str]) -> None:
    """Bring every package that images are made of into the store, but those whose metadata came with a layer.

    Raises:
        HelioError: one cannot be had or made.
    """
    locks = checkout.locks_of(checkout.selected(names))
    every = {
        package.sha256: package.size
        for lock in locks.values()
        for package in lock.packages
        if package.kind != "debian" and travel.metadata_of(machine.store, package) is None
    }
    access.fetch_artefacts(machine.caches, every, machine.store)
    if all(has(machine.store.artefact(sha256), size) for sha256, size in every.items()):
        return
    paths = _fetched(checkout, machine, locks, every)
    for name, lock in locks.items():
        paths |= _compiled(checkout, machine, name, lock, paths, every)


def _of_indexes(locks: Mapping[str, Locks]) -> set[str]:
    """Return the sha256 of all packages that nobody here makes, and that are not Debian's."""
    wheels = {wheel.sha256 for lock in locks.values() for wheel in lock.pypi.wheels if not wheel.built}
    conda = (package for lock in locks.values() for package in lock.conda.packages)
    return wheels | {package.sha256 for package in conda if package.channel != "local"}


def _wanted(machine: Machine, plans: Mapping[str, ImagePlan]) -> dict[str, int | None]:
    """Return what layers are made from that the store lacks; what a cache has of it is there afterwards.

    Args:
        plans: by name; the first is the oldest ancestor's.
    """
    lacking = travel.missing(machine.store, plans.values())
    wanted = travel.needed(lacking, next(iter(plans.values())).locks)
    access.fetch_artefacts(machine.caches, wanted, machine.store)
    return wanted


def _fetched(
    checkout: Checkout,
    machine: Machine,
    locks: Mapping[str, Locks],
    wanted: Container[str],
    debian: Callable[[Mapping[str, Path]], None] = lambda _: None,
) -> dict[str, Path]:
    """Return sha256 (hex) -> file of what is fetched, and of the local channel; see `provision.packages`."""
    with stage("artefacts"):
        supplies = provision.Supplies(
            root=checkout.root,
            store=machine.store,
            index=lambda: machine.index,
            builder=lambda: machine.builder(checkout),
            platform=checkout.platform,
            jobs=max(_DOWNLOADS, machine.jobs),
            abandon=machine.abandon,
        )
        return provision.packages(supplies, tuple(locks.values()), wanted, debian)


def _compiled(
    checkout: Checkout,
    machine: Machine,
    name: str,
    lock: Locks,
    paths: Mapping[str, Path],
    wanted: Container[str],
) -> dict[str, Path]:
    """Return sha256 (hex) -> file of what an image needs that is made in the builder, of what was fetched."""
    environment = checkout.environments[checkout.images[name].environment]
    made = wheel_builder(checkout, machine).for_build(environment, lock, paths, wanted)
    return made | script_runner(checkout, machine).for_build(lock, {**paths, **made}, wanted)


def render(root: Path, built: Mapping[str, Built], *, check: bool) -> None:
    """Write the Dockerfiles of images, or compare them with the committed ones.

    Args:
        root: the checkout.

    Raises:
        HelioError: one differs from the committed one.
    """
    template = (root / TEMPLATE).read_text("utf-8")
    for name, image in built.items():
        path = root / "images" / name / "Dockerfile"
        if check:
            healed = image.locks.apt.healed
            for line in healed:
                say(f"warning: {name} has healed Debian packages, so only its other layers are compared: {line}")
            rendering.check(_recipe(image), template, path, f"images/{name}/Dockerfile", healed=bool(healed))
        else:
            path.write_text(rendering.dockerfile(_recipe(image), template), "utf-8")


def check_context(folder: Path) -> None:
    """Refuse a folder for `context` that has files of somebody else; what an earlier run left may be replaced.

    Raises:
        HelioError: it is not a folder, or has other files.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    ours = {"Dockerfile", "layers"}
    if there and (not there <= ours or "layers" not in there):
        shown = sorted(there - ours) or sorted(there)
        raise HelioError(
            Stage.USAGE,
            f"`{folder}` is not empty",
            detail=f"expected a new folder, or one that `context` made, not one with {', '.join(shown[:5])}",
            hint="name a new folder: it is made",
        )


def context(root: Path, store: Store, built: Built, folder: Path) -> None:
    """Lay out a folder that a plain ``docker build`` turns into the image: its Dockerfile and its own layers."""
    layers = folder / "layers"
    layers.mkdir(parents=True, exist_ok=True)
    template = (root / TEMPLATE).read_text("utf-8")
    (folder / "Dockerfile").write_text(rendering.dockerfile(_recipe(built), template), "utf-8")
    for layer in built.layers:
        target = layers / f"{layer.layer.diff_id.removeprefix('sha256:')}.tar.gz"
        target.unlink(missing_ok=True)
        try:
            os.link(store.blob(layer.layer.digest), target)
        except OSError:
            shutil.copyfile(store.blob(layer.layer.digest), target)


def layout(store: Store, built: Mapping[str, Built], folder: Path) -> None:
    """Write images as an OCI layout, by name."""
    write_layout(folder, {name: image.image for name, image in built.items()}, store.blob)


def _recipe(built: Built) -> rendering.DockerfileRecipe:
    return rendering.recipe_of(built.plan, [layer.layer.diff_id for layer in built.layers])
