"""The stages that write locks: `lock`, which needs the local channel, and `heal`, which may have to lock again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..conda.channels import read_places
from ..core.progress import say, stage
from ..locks import file_names, healing, locking
from ..locks.channels import LOCAL, channels_of, folders_of
from ..locks.checkout import Checkout
from . import channel
from .link_scripts import ScriptRunner
from .machine import Machine
from .sources import WheelBuilder

_HEALED = "warning: the builder was healed: what it makes is locked again"


def channel_dir(checkout: Checkout, machine: Machine) -> Path:
    """Return the local channel's folder, compiled if the store lacks it.

    Raises:
        HelioError: as `channel.build_channel` says.
    """
    with stage("local channel"):
        return channel.build_channel(
            machine.store,
            checkout.root,
            machine.builder(checkout),
            jobs=machine.jobs,
            platform=checkout.platform,
        )


def wheel_builder(checkout: Checkout, machine: Machine, folder: Path | None = None) -> WheelBuilder:
    """Return what builds wheels of source-only packages.

    Args:
        folder: the local channel's, for wheels that no lock names yet.
    """
    return WheelBuilder(
        root=checkout.root,
        store=machine.store,
        builder=lambda: machine.builder(checkout),
        index=lambda: machine.index,
        channel_dir=folder,
        platform=checkout.platform,
        jobs=machine.jobs,
    )


def script_runner(checkout: Checkout, machine: Machine) -> ScriptRunner:
    """Return what runs reviewed post-link scripts of conda packages."""
    return ScriptRunner(
        root=checkout.root,
        store=machine.store,
        builder=lambda: machine.builder(checkout),
        platform=checkout.platform,
    )


def lock(checkout: Checkout, machine: Machine, names: Sequence[str], wish: locking.Wish) -> locking.Report:
    """Lock environments and images; see `locking.lock`.

    Where the mirror dropped packages of the builder that is needed, the builder is healed, and everything is locked.

    Raises:
        HelioError: as `locking.lock` and `healing.heal` say.
    """
    folders, _ = folders_of(wish.channel_dirs, checkout.channel)
    if folders or wish.check or not _asks_for_local(checkout, names):
        return _lock(checkout, machine, names, wish, folders)
    with healing.undone(checkout.root, (), platform=checkout.platform):
        # Errors of a mirror that dropped the builder's packages name this command.
        if healing.heal(checkout.root, machine.store, (), builder=True, strict=False, platform=checkout.platform):
            say(_HEALED)
            if checkout.channel != LOCAL:
                lock(dataclasses.replace(checkout, channel=LOCAL), machine, (), locking.Wish(rebuild=True))
            names, wish = (), dataclasses.replace(wish, rebuild=True)
        folders = (channel_dir(checkout, machine),)
        wish = dataclasses.replace(wish, channel_dirs=(*folders, *wish.channel_dirs))
        return _lock(checkout, machine, names, wish, folders)


def _lock(
    checkout: Checkout, machine: Machine, names: Sequence[str], wish: locking.Wish, folders: Sequence[Path]
) -> locking.Report:
    wish = dataclasses.replace(wish, run_scripts=script_runner(checkout, machine).for_lock)
    if folders and checkout.channel == LOCAL:
        builder = wheel_builder(checkout, machine, folders[0])
        wish = dataclasses.replace(wish, build_wheels=builder.for_lock)
    return locking.lock(checkout.root, machine.store, names, wish, channel=checkout.channel, platform=checkout.platform)


def _asks_for_local(checkout: Checkout, names: Sequence[str]) -> bool:
    """Say whether one of the environments is of the local channel, which then must be compiled."""
    wanted, _ = locking.selected(names, checkout.environments, checkout.images)
    places = read_places()
    return any(LOCAL in channels_of(checkout.environments, name, checkout.channel, places) for name in wanted)


def heal(checkout: Checkout, machine: Machine, names: Sequence[str], *, strict: bool) -> None:
    """Follow the Debian mirror where it dropped locked packages; see `healing`.

    A healed builder may compile other bytes, so the packages it makes are locked again too; if that fails, the
    locks are left as they were.

    Raises:
        HelioError: as `healing.heal` says, or what was healed cannot be locked again.
    """
    wanted = checkout.selected(names)
    needs_builder = not all(
        machine.store.artefact(sha256).exists()
        for locks in checkout.locks_of(wanted).values()
        for sha256 in (
            *(package.sha256 for package in locks.conda.packages if package.channel == "local"),
            *(wheel.sha256 for wheel in locks.pypi.wheels if wheel.built),
            *(sha256 for names in locks.conda.ran.values() for sha256 in names.values()),
        )
    )
    images = [checkout.images[name] for name in checkout.with_ancestors(wanted)]
    with healing.undone(checkout.root, images, platform=checkout.platform):
        healed = healing.heal(
            checkout.root,
            machine.store,
            images,
            builder=needs_builder,
            strict=strict,
            platform=checkout.platform,
        )
        if file_names.builder_lock(checkout.platform) in healed:
            say(_HEALED)
            # The local channel's Python builds wheels, whichever channel images are made from.
            local = dataclasses.replace(checkout, channel=LOCAL)
            report = lock(local, machine, (), locking.Wish(rebuild=True))
            for name, changes in report.changes.items():
                for change in changes:
                    say(f"  healed: {name}: {change}")
