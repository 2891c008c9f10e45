"""The conda part of a lock: what rattler chooses, under the parent's packages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from ..conda.channels import read_places
from ..conda.clobber import clobbers
from ..conda.lock import CondaLock, CondaPackage, settled
from ..conda.scripts import refuse_scripts
from ..conda.solve import CondaQuestion, solve
from ..conda.solve_channels import Channels, solve_channels
from ..core.errors import HelioError, Stage
from ..core.platform import Platform, Subdir
from ..core.progress import say
from ..machine.fetch import fetch_all
from ..pypi.lock import PyPILock
from ..spec.environment import EnvironmentSpec
from ..spec.lineage import lineage
from .channels import LOCAL, channels_of, conda_file
from .state import LockRun, Solved, conda_hash, contradiction, forgotten, where_of


def lock_conda(
    run: LockRun,
    environments: Mapping[str, EnvironmentSpec],
    environment: EnvironmentSpec,
    parent: Solved | None,
    before: tuple[CondaLock | None, PyPILock | None],
) -> CondaLock:
    """Return an environment's conda part, solved under the parent's packages.

    Args:
        before: the environment's present locks; what they have is kept where it fits.

    Raises:
        HelioError: no solution, or one that contradicts the parent.
    """
    line = lineage(environments, environment.name)
    subdir = run.platform.subdir
    specs = tuple(dict.fromkeys(text for ancestor in line for text in ancestor.conda))
    virtual = virtual_packages(environment, run.platform)
    inherited = parent.conda.for_platform(subdir) if parent else ()
    current = before[0].for_platform(subdir) if before[0] and subdir in before[0].platforms else ()
    question = CondaQuestion(
        specs=specs,
        platform=subdir,
        virtual_packages=virtual,
        locked=[package for package in current if not forgotten(package.name, run.update)],
        pinned=inherited,
        exclude_newer=run.exclude_newer,
        where=where_of(environment),
    )
    places = read_places()
    channels = channels_of(environments, environment.name, run.channel, places)
    if channels == (run.channel,) and run.channel_dirs:
        if run.channel == LOCAL:
            # It is compiled here: when it was made says nothing of how old its sources are.
            question = dataclasses.replace(question, exclude_newer=None)
        packages = solve(question, channel=run.channel, repodata_dirs=run.channel_dirs)
        newest = _newest(packages, run.channel_dirs)
    else:
        folders = {run.channel: run.channel_dirs[0]} if run.channel_dirs else {}
        asked = Channels(
            names=channels,
            strict=all(ancestor.channel_priority == "strict" for ancestor in line),
            folders=folders | dict(run.channel_folders),
            places=places,
            cache=run.store.root / "cache" / "repodata",
        )
        packages, newest = solve_channels(question, asked)
        _fetch(run, packages, asked, where_of(environment))
    files = tuple(_at_hand(run, packages))
    reviewed = _reviewed(line, packages)
    kinds = refuse_scripts(files, Stage.LOCK, reviewed)
    chosen = {package.name: package for package in packages}
    for package in inherited:
        mine = chosen.get(package.name)
        if mine is None or mine.sha256 != package.sha256:
            what = f"conda package `{package.name}`"
            raise contradiction(environment, what, package.file_name, mine.file_name if mine else "none")
    named = [pattern for ancestor in line for pattern in ancestor.clobber]
    lock = CondaLock(
        channels=channels,
        platforms=(subdir,),
        packages=packages,
        content_hash=conda_hash(environments, environment, parent.conda if parent else None),
        virtual_packages={subdir: virtual},
        timestamp=newest,
        scripts={subdir: reviewed} if reviewed else {},
    )
    lock = dataclasses.replace(lock, clobbers=_clobbers(files, named, parent, subdir, lock.reviewed(subdir)))
    _refuse_early(line, kinds)
    lock = dataclasses.replace(lock, ran=_ran(run, line, lock, subdir, files))
    if len(files) < len(packages) and before[0] is not None and before[0].packages == packages:
        # What was seen in the files once is still so.
        lock = dataclasses.replace(lock, clobbers=before[0].clobbers)
    return settled(before[0], lock)


def _refuse_early(line: Iterable[EnvironmentSpec], kinds: Mapping[tuple[str, str], str]) -> None:
    """Refuse to run what runs before its package is there.

    Raises:
        HelioError: an environment wants it.
    """
    for environment in line:
        for at, script in enumerate(environment.link_scripts):
            if script.run and kinds.get((script.package, script.sha256)) == "pre-link":
                raise HelioError(
                    Stage.LOCK,
                    f"the pre-link script of `{script.package}` cannot be run",
                    where=f"{where_of(environment)} at x-helioimages.link-scripts[{at}].run",
                    detail="only post-link scripts are run",
                    hint="take `run` off this entry: then it is only a file",
                )


def _ran(
    run: LockRun,
    line: Iterable[EnvironmentSpec],
    lock: CondaLock,
    subdir: str,
    files: Sequence[tuple[CondaPackage, Path]],
) -> dict[str, dict[str, str]]:
    """Return what the scripts wrote that environments want to be run.

    Raises:
        HelioError: one failed, or cannot be run here.
    """
    asking = {script.package: environment for environment in line for script in environment.link_scripts if script.run}
    asking = {name: environment for name, environment in asking.items() if name in lock.scripts.get(subdir, {})}
    if not asking:
        return {}
    if run.run_scripts is None or len(files) < len(lock.packages):
        raise HelioError(
            Stage.LOCK,
            f"post-link scripts cannot be run here: {', '.join(sorted(asking))}",
            where=", ".join(
                f"{file} at x-helioimages.link-scripts" for file in dict.fromkeys(map(where_of, asking.values()))
            ),
            detail="a script is run in the builder, beside the files of the packages that its package needs"
            + ("" if len(files) == len(lock.packages) else "; some packages are not at hand"),
            hint="give a channel that has the packages, not only their index",
        )
    return {subdir: dict(run.run_scripts(lock, {package.sha256: path for package, path in files}, sorted(asking)))}


def _reviewed(line: Iterable[EnvironmentSpec], packages: Iterable[CondaPackage]) -> dict[str, tuple[str, ...]]:
    """Return package -> sha256 of its scripts that people read, as an environment and those it contains say.

    Raises:
        HelioError: a package is not locked: a slip would go unseen.
    """
    names = {package.name for package in packages}
    reviewed: dict[str, set[str]] = {}
    for environment in line:
        for at, script in enumerate(environment.link_scripts):
            if script.package not in names:
                raise HelioError(
                    Stage.LOCK,
                    f"`{script.package}` is not a locked conda package",
                    where=f"{where_of(environment)} at x-helioimages.link-scripts[{at}]",
                    hint="remove the entry, or name the conda package that is meant",
                )
            reviewed.setdefault(script.package, set()).add(script.sha256)
    return {name: tuple(sorted(digests)) for name, digests in reviewed.items()}


def _clobbers(
    files: Sequence[tuple[CondaPackage, Path]],
    named: Sequence[str],
    parent: Solved | None,
    subdir: Subdir,
    reviewed: frozenset[str],
) -> dict[str, dict[str, str]]:
    """Return who wins the paths that several packages bring, and tell it."""
    above = parent.conda.clobbers.get(subdir, {}) if parent else {}
    inherited = {package.name for package in parent.conda.packages} if parent else set()
    settled_paths = clobbers(
        files,
        platform=subdir,
        named=named,
        before={path: text.partition(" over ")[0] for path, text in above.items()},
        inherited=inherited,
        scripts=reviewed,
    )
    told: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for clobber in settled_paths:
        told.setdefault((clobber.winner, clobber.losers), []).append(clobber.path)
    for (winner, losers), paths in told.items():
        what = "a path" if len(paths) == 1 else f"{len(paths)} paths"
        say(f"warning: {winner} wins {what} over {', '.join(losers)}, as rattler installs: {', '.join(paths[:3])}")
    texts = {clobber.path: f"{clobber.winner} over {', '.join(clobber.losers)}" for clobber in settled_paths}
    return {subdir: texts} if texts else {}


def _fetch(run: LockRun, packages: Sequence[CondaPackage], channels: Channels, where: str) -> None:
    """Bring the packages of channels that have an address into the store: no index says all that a lock must know.

    Which packages have a script to run, and which take a path from each other, is only in the packages themselves.
    """
    wanted = [
        conda_file(package, f"{where} at channels", channels.places)
        for package in packages
        if package.channel not in channels.folders
    ]
    fetch_all(wanted, run.store, label="conda packages")


def _at_hand(run: LockRun, packages: Iterable[CondaPackage]) -> Iterator[tuple[CondaPackage, Path]]:
    """Yield the packages whose files are here: in the channels' folders, or in the store from an earlier run."""
    folders = (*run.channel_dirs, *run.channel_folders.values())
    for package in packages:
        places = [folder / package.subdir / unquote(package.at or package.file_name) for folder in folders]
        path = next((path for path in places if path.is_file()), run.store.artefact(package.sha256))
        if path.is_file():
            yield package, path


def virtual_packages(environment: EnvironmentSpec, platform: Platform) -> dict[str, str]:
    """Return conda's words for what the machine brings: Linux, its processor, and what environment.yml says."""
    system = {"__unix": "0", "__linux": "0", "__archspec": platform.machine}
    return system | dict(environment.virtual_packages)


def _newest(packages: Iterable[CondaPackage], channel_dirs: Iterable[Path]) -> int:
    """Return the newest timestamp of the packages, seconds since 1970 UTC; conda's index has milliseconds."""
    wanted = {(package.subdir, package.file_name) for package in packages}
    newest = 0
    for folder in channel_dirs:
        for subdir in {subdir for subdir, _ in wanted}:
            path = folder / subdir / "repodata.json"
            if not path.is_file():
                continue
            document = json.loads(path.read_bytes())
            for section in ("packages", "packages.conda"):
                for name, record in document.get(section, {}).items():
                    if (subdir, name) in wanted:
                        stamp = record.get("timestamp", 0)
                        newest = max(newest, stamp // 1000 if stamp > 10**11 else stamp)
    return newest
