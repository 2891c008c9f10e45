"""The lock verb: from what people ask for to exact files.

For each environment, parents first: the conda part with rattler, the PyPI part with uv under the conda pins and the
parent's versions; for each image the Debian part with apt, beside them. Nothing is written before everything is
solved and checked, so a failed run leaves the locks as they were. What is there already is preferred, so a run without
a reason to change changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from packaging.utils import canonicalize_name

from ..conda import lock as conda_lock
from ..core import threads
from ..core.errors import HelioError, Stage
from ..core.near import meant
from ..core.platform import FIRST, Platform
from ..core.progress import say
from ..debian import lock as debian_lock
from ..machine.checkout import load_environments, load_images
from ..machine.store import Store
from ..pypi import lock as pypi_lock
from ..pypi.index import PackageIndex
from ..pypi.lock import PyPILock
from ..pypi.resolve import places
from ..spec.environment import EnvironmentSpec
from ..spec.image import ImageSpec
from ..spec.lineage import lineage
from . import file_names
from .channels import folders_of
from .conda import lock_conda, virtual_packages
from .debian import Moved, apt_of, lock_images, moved, stale_debian
from .diff import Change, Held, diff, silent_downgrades, table
from .file_names import CONDA_LOCK
from .held_back import Kin, held
from .pypi import PyPIQuestion, going, lock_pypi
from .stale import of_environment, other_patches
from .state import (
    Builder,
    LockRun,
    Scripts,
    Solved,
    current_locks,
    debs,
    descendants,
    packages,
    parent_locks,
    read_text,
    where_of,
    write_text,
)
from .tools import lock_tools
from .withdrawn import Withdrawn, files_of, withdrawn

__all__ = ["Report", "lock", "virtual_packages"]

#: Environments that are locked at once: uv has threads of its own.
_SIBLINGS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run of `lock` did.

    Attributes:
        changes: environment or image -> what its lock changes.
        held: environment -> packages of which there is a newer version.
        unbuilt: environment -> source-only packages without a wheel.
        yanked: environment -> packages whose authors ask not to use them, though the index has them still.
        debian: what changed in Debian parts that were there before; None if nothing did.
        written: files that changed, relative to the checkout.
        seconds: step -> how long it took.
    """

    changes: Mapping[str, tuple[Change, ...]]
    held: Mapping[str, tuple[Held, ...]]
    unbuilt: Mapping[str, tuple[str, ...]]
    written: tuple[str, ...]
    seconds: Mapping[str, float]
    yanked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    debian: Moved | None = None

    def lines(self) -> tuple[str, ...]:
        """Return the report for people."""
        lines: list[str] = []
        for name, changes in self.changes.items():
            lines.append(f"{name}: {_counts(changes)}")
            lines += [f"  {change}" for change in changes]
            lines += [f"  {text}" for text in self.held.get(name, ())]
            lines += [f"  {'unbuilt':<10} {text}" for text in self.unbuilt.get(name, ())]
            lines += [f"  {'yanked':<10} {text} by its authors" for text in self.yanked.get(name, ())]
        if any(self.yanked.values()):
            lines.append("`buildimages lock --update yanked` takes other versions of what was yanked")
        if self.debian:
            lines += self.debian.lines()
        return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of one run of `lock`.

    Attributes:
        check: write nothing; raise if a lock is not of what is asked for now.
        update: packages whose current version is forgotten; ``all`` forgets every one, ``debian`` all of Debian's,
            ``yanked`` those whose authors withdrew them.
        exclude_newer: packages made later do not exist (PyPI and conda-forge). Before the present lock's time, it asks
            for older versions.
        channel_dirs: folders with the channel's ``<subdir>/repodata.json``; ``NAME=FOLDER`` is another channel's.
        build_wheels: makes wheels of source-only packages; without it they stay unbuilt.
        run_scripts: runs reviewed post-link scripts; without it none is run, which is an error if one has to be.
        rebuild: make them again though a lock has them.
    """

    check: bool = False
    update: tuple[str, ...] = ()
    exclude_newer: datetime | None = None
    channel_dirs: tuple[Path, ...] = ()
    build_wheels: Builder | None = None
    run_scripts: Scripts | None = None
    rebuild: bool = False


def lock(
    root: Path,
    store: Store,
    names: Sequence[str] = (),
    wish: Wish = Wish(),
    *,
    channel: str = "local",
    platform: Platform = FIRST,
) -> Report:
    """Lock environments and images, or check that their locks are not stale.

    Args:
        root: the checkout.
        names: environments or images, their ancestors not included; all if empty.
        channel: ``local`` or ``conda-forge``; the PyPI and Debian parts are the same for both.

    Raises:
        HelioError: no solution, a conflict between parent and child or conda and PyPI, a silent downgrade, a stale
            lock (stage CHECK).
    """
    subdir = platform.subdir
    environments = {name: environment.for_platform(subdir) for name, environment in load_environments(root).items()}
    images = load_images(root)
    wanted, of_images = selected(names, environments, images)
    if channel not in CONDA_LOCK:
        raise HelioError(
            Stage.USAGE, f"there is no channel `{channel}`", detail=f"expected one of {', '.join(CONDA_LOCK)}"
        )
    folders, others = folders_of(wish.channel_dirs, channel)
    run = LockRun(
        root=root,
        store=store,
        channel=channel,
        platform=platform,
        update=tuple(canonicalize_name(name) for name in wish.update),
        exclude_newer=wish.exclude_newer,
        channel_dirs=folders,
        channel_folders=others,
        build_wheels=wish.build_wheels,
        run_scripts=wish.run_scripts,
        rebuild=wish.rebuild,
    )
    if wish.check:
        check_locks(run, environments, images, wanted, of_images)
        return Report(changes={}, held={}, unbuilt={}, written=(), seconds={})
    return _lock(run, environments, images, wanted, of_images)


def selected(
    names: Sequence[str], environments: Mapping[str, EnvironmentSpec], images: Mapping[str, ImageSpec]
) -> tuple[list[str], list[str]]:
    """Return the environments and the images that the names mean, parents first.

    Raises:
        HelioError: there is no such environment or image.
    """
    for name in names:
        if name not in environments and name not in images:
            known = list(dict.fromkeys([*environments, *images]))
            raise HelioError(
                Stage.USAGE,
                f"there is no environment or image `{name}`",
                detail=f"expected one of {', '.join(known)}",
                hint=meant(name, known),
            )
    if not names:
        return list(environments), list(images)
    asked = set(names) | {images[name].environment for name in names if name in images}
    return (
        [name for name in environments if name in asked],
        [name for name, image in images.items() if name in names or image.environment in names],
    )


def _lock(
    run: LockRun,
    environments: Mapping[str, EnvironmentSpec],
    images: Mapping[str, ImageSpec],
    wanted: Sequence[str],
    of_images: Sequence[str],
) -> Report:
    files: dict[str, str] = {}
    changes: dict[str, tuple[Change, ...]] = {}
    unbuilt: dict[str, tuple[str, ...]] = {}
    yanked: dict[str, tuple[str, ...]] = {}
    solved: dict[str, Solved] = {}
    newer: dict[str, Future[tuple[Held, ...]]] = {}
    with threads.pool(2) as pool:
        # apt waits for its mirror, and the newest versions for the index, while uv resolves.
        debian = pool.submit(lock_images, run, images, of_images)
        index = PackageIndex(places(), run.store.root / "cache" / "index")
        lost = _ask_index(run, environments, wanted, index) if run.channel == "local" else Withdrawn()
        for siblings in _generations(environments, wanted):
            tried = _together(run, environments, siblings, solved, index)
            for name in siblings:
                settled = tried.get(name) or _settled(run, environments, name, solved, index)
                solved[name], parent, pypi = settled.solved, settled.parent, settled.solved.pypi
                files |= settled.files
                changes |= settled.changes
                unbuilt[name] = tuple(f"{sdist.name} {sdist.version}" for sdist in pypi.unbuilt)
                inherited = files_of(parent.pypi if parent else None)
                yanked[name] = tuple(
                    f"{package.name} {package.version}"
                    for package in files_of(pypi)
                    if package in lost.yanked and package not in inherited
                )
                if run.channel != "local":
                    continue
                children = [current_locks(run, child.name)[1] for child in descendants(environments, name)]
                kin = Kin(
                    line=lineage(environments, name),
                    inherited=parent.pypi if parent else None,
                    children=tuple(child for child in children if child),
                )
                newer[name] = pool.submit(
                    run.timed,
                    f"{name}: newest versions",
                    held,
                    pypi,
                    kin,
                    index,
                    run.store,
                    exclude_newer=run.exclude_newer,
                )
        of_debian = debian.result()
        for name, (old, new) in of_debian.items():
            files[file_names.image_lock(name, run.platform)] = debian_lock.dump(new)
            changes[f"images/{name}"] = diff(debs(old), debs(new))
        held_back = {name: future.result() for name, future in newer.items()}
    written = tuple(file for file, text in files.items() if write_text(run.root / file, text))
    return Report(
        changes=changes,
        held=held_back,
        unbuilt=unbuilt,
        yanked=yanked,
        debian=moved(of_debian),
        written=written,
        seconds=run.seconds,
    )


def _generations(environments: Mapping[str, EnvironmentSpec], names: Sequence[str]) -> list[list[str]]:
    """Return environments by how many ancestors they have: those of one list do not wait for each other."""
    by_depth: dict[int, list[str]] = {}
    for name in names:
        by_depth.setdefault(len(lineage(environments, name)), []).append(name)
    return [by_depth[depth] for depth in sorted(by_depth)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """One environment: what `files` of it say, and what changed, by file or environment."""

    solved: Solved
    parent: Solved | None
    files: Mapping[str, str]
    changes: Mapping[str, tuple[Change, ...]]


def _together(
    run: LockRun,
    environments: Mapping[str, EnvironmentSpec],
    siblings: Sequence[str],
    solved: Mapping[str, Solved],
    index: PackageIndex,
) -> dict[str, _Settled]:
    """Lock environments beside each other, and return those that want neither the builder nor a person.

    A build, which takes every processor, and a fault, which is told in one order, are left to `_settled`, one by one.
    """
    if len(siblings) < 2 or run.rebuild:
        return {}
    alone = replace(run, build_wheels=None, run_scripts=None)

    def tried(name: str) -> _Settled | None:
        try:
            settled = _settled(alone, environments, name, solved, index)
        except HelioError:
            return None
        return None if settled.solved.pypi.unbuilt and run.build_wheels else settled

    with threads.pool(_SIBLINGS) as pool:
        return {name: settled for name, settled in zip(siblings, pool.map(tried, siblings), strict=True) if settled}


def _settled(
    run: LockRun,
    environments: Mapping[str, EnvironmentSpec],
    name: str,
    solved: Mapping[str, Solved],
    index: PackageIndex,
) -> _Settled:
    """Lock one environment whose parent is solved."""
    environment = environments[name]
    say(f"==> lock {name}")
    parent = parent_locks(run, environment, solved)
    before = current_locks(run, name)
    conda = run.timed(f"{name}: conda", lock_conda, run, environments, environment, parent, before)
    folder = f"environments/{name}"
    files: dict[str, str] = {}
    changes: dict[str, tuple[Change, ...]] = {}
    if run.channel == "local" and (tools := lock_tools(run, environment, conda, index)):
        run.tools[name] = tools.now
        file = f"{folder}/{file_names.of(file_names.BUILD_LOCK, run.platform)}"
        files[file] = pypi_lock.dump(tools.now)
        changes[file] = diff(packages(None, tools.before), packages(None, tools.now))
    question = PyPIQuestion(
        environments=environments, environment=environment, parent=parent, conda=conda, current=before[1]
    )
    pypi = run.timed(f"{name}: PyPI", lock_pypi, run, question, index)
    now = packages(conda, pypi)
    changes[name] = diff(packages(before[0], before[1]), now)
    if not _is_replay(run, before[1]):
        refuse_downgrades(environment, changes[name], (*run.update, *going(run, before[1])))
    files[f"{folder}/{file_names.of(CONDA_LOCK[run.channel], run.platform)}"] = conda_lock.dump(conda)
    if run.channel == "local":
        files[f"{folder}/{file_names.of(file_names.PYLOCK, run.platform)}"] = pypi_lock.dump(pypi)
        files[f"{folder}/{file_names.of(file_names.TABLE, run.platform)}"] = table(now)
    return _Settled(solved=Solved(conda=conda, pypi=pypi), parent=parent, files=files, changes=changes)


def _ask_index(
    run: LockRun, environments: Mapping[str, EnvironmentSpec], wanted: Sequence[str], index: PackageIndex
) -> Withdrawn:
    """Return what the index withdrew of the locks, and let the run forget it."""
    parents = [environments[name].parent for name in wanted]
    locks = [
        current_locks(run, name)[1] for name in dict.fromkeys([*wanted, *(parent for parent in parents if parent)])
    ]
    withdrawal = withdrawn((item for lock in locks for item in files_of(lock)), index)
    for item in withdrawal.deleted:
        say(f"warning: the package index no longer has {item.file_name}")
    run.lost = frozenset(item.sha256 for item in withdrawal.deleted)
    run.gone = run.lost | (
        frozenset(item.sha256 for item in withdrawal.yanked) if "yanked" in run.update else frozenset()
    )
    return withdrawal


def _is_replay(run: LockRun, current: PyPILock | None) -> bool:
    """Say whether an earlier moment than the present lock's was asked for: then older versions are what is meant."""
    return run.exclude_newer is not None and current is not None and current.timestamp > run.exclude_newer.timestamp()


def _counts(changes: Sequence[Change]) -> str:
    kinds = [change.kind for change in changes]
    counted = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    return ", ".join(counted) or "unchanged"


def check_locks(
    run: LockRun,
    environments: Mapping[str, EnvironmentSpec],
    images: Mapping[str, ImageSpec],
    wanted: Sequence[str],
    of_images: Sequence[str],
) -> None:
    """Refuse locks that are missing or stale, all of them in one error."""
    faults = []
    for name in wanted:
        environment = environments[name]
        conda_file, pypi_file, table_file = (
            f"environments/{name}/{file_names.of(file, run.platform)}"
            for file in (CONDA_LOCK[run.channel], file_names.PYLOCK, file_names.TABLE)
        )
        conda, pypi = current_locks(run, name, strict=True)
        up = current_locks(run, environment.parent, strict=True) if environment.parent else (None, None)
        for file, there in ((conda_file, conda), (pypi_file, pypi)):
            if there is None:
                faults.append(f"{file} is missing")
        # A pylock is made under the local channel's pins.
        local = run.channel == "local"
        files = (conda_file, pypi_file if local else "")
        faults += of_environment(environments, name, (conda, pypi), up, files)
        if local and conda and pypi:
            faults += other_patches(run.root, environments, name, pypi, pypi_file)
            faults += [f"{pypi_file} has no wheel of `{sdist.name}`, which has to be built" for sdist in pypi.unbuilt]
            if read_text(run.root / table_file) != table(packages(conda, pypi)):
                faults.append(f"{table_file} does not say what the locks say")
    for name in of_images:
        apt_lock, image = apt_of(run.root, name, run.platform), images[name]
        if apt_lock is None:
            faults.append(f"{file_names.image_lock(name, run.platform)} is missing")
        elif why := stale_debian(
            image, apt_of(run.root, image.parent, run.platform) if image.parent else None, apt_lock
        ):
            faults.append(f"{file_names.image_lock(name, run.platform)} is stale: {why}")
    if faults:
        raise HelioError(
            Stage.CHECK,
            f"{len(faults)} locks are stale" if len(faults) != 1 else "a lock is stale",
            detail="\n".join(faults),
            hint="run `buildimages lock`",
        )


def refuse_downgrades(environment: EnvironmentSpec, changes: Iterable[Change], update: Iterable[str]) -> None:
    bad = silent_downgrades(changes, {*environment.allow_downgrade, *update})
    if bad:
        raise HelioError(
            Stage.LOCK,
            f"`{bad[0].name}` would be downgraded" if len(bad) == 1 else f"{len(bad)} packages would be downgraded",
            where=where_of(environment),
            detail="\n".join(f"{change.name} {change.old} -> {change.new}" for change in bad),
            hint="name it in x-helioimages.allow-downgrade or with `--update` if that is meant",
        )
