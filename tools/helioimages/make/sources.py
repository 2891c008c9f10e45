"""Source-only packages where they are needed: `lock` records their wheels, and `build` wants them."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..conda.lock import CondaPackage
from ..conda.solve import CondaQuestion, solve
from ..core.entries import LAYER_MTIME
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.progress import stage
from ..core.words import count
from ..locks import file_names, locking
from ..locks.read import Locks
from ..machine.store import Store, has
from ..pypi import lock as pypi_lock
from ..pypi.index import PackageIndex
from ..pypi.lock import PyPILock, Sdist, Wheel
from ..spec.environment import EnvironmentSpec
from . import channel, provision
from . import wheels as wheelbuild
from .builder import Builder


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelBuilder:
    """Builds wheels of source-only packages in the builder; everything it needs is connected late.

    Attributes:
        channel_dir: the local channel, for `for_lock`.
        platform: what it is for.
    """

    root: Path
    store: Store
    builder: Callable[[], Builder]
    index: Callable[[], PackageIndex]
    channel_dir: Path | None
    platform: Platform
    jobs: int

    def for_lock(
        self, environment: EnvironmentSpec, sdists: tuple[Sdist, ...], tools: PyPILock | None = None
    ) -> tuple[Wheel, ...]:
        """Return the wheels of source archives that a lock names for the first time.

        Args:
            tools: what to build with, where that is not written yet.
        """
        if not sdists:
            return ()
        assert self.channel_dir is not None
        subdir = self.platform.subdir
        question = CondaQuestion(
            specs=environment.conda,
            platform=subdir,
            virtual_packages=locking.virtual_packages(environment, self.platform),
        )
        packages = solve(question, channel="local", repodata_dirs=(self.channel_dir,))
        files = channel.artefact_paths(self.channel_dir)
        python = [(package, files[package.sha256]) for package in packages]
        lock = PyPILock(python="", platform=self.platform, content_hash="", wheels=(), sdists=sdists)
        return self._build(environment, lock, python, tools)

    def for_build(
        self,
        environment: EnvironmentSpec,
        locks: Locks,
        paths: Mapping[str, Path],
        needed: Container[str] | None = None,
    ) -> dict[str, Path]:
        """Return sha256 (hex) -> file of the lock's built wheels, built if the store lacks one.

        Args:
            needed: the sha256 of what is wanted of them; None is all.

        Raises:
            HelioError: a wheel came out with other bytes than the lock says, or is not recorded in the lock.
        """
        if locks.pypi.unbuilt:
            names = ", ".join(sdist.name for sdist in locks.pypi.unbuilt)
            raise HelioError(
                Stage.LOCK,
                f"source-only packages have no wheel in the lock: {names}",
                where=locks.files["pypi"],
                hint=f"run `buildimages lock {environment.name}`",
            )
        wanted = [wheel for wheel in locks.pypi.wheels if wheel.built and (needed is None or wheel.sha256 in needed)]
        built = {wheel.sha256: self.store.artefact(wheel.sha256) for wheel in wanted}
        if not all(has(built[wheel.sha256], wheel.size) for wheel in wanted):
            python = [(package, paths[package.sha256]) for package in locks.conda.packages]
            self._build(environment, locks.pypi, python)
        return built

    def _build(
        self,
        environment: EnvironmentSpec,
        lock: PyPILock,
        python: Sequence[tuple[CondaPackage, Path]],
        tools: PyPILock | None = None,
    ) -> tuple[Wheel, ...]:
        file = f"environments/{environment.name}/{file_names.of(file_names.BUILD_LOCK, self.platform)}"
        tools = tools or self._tools(environment, lock, file)
        wheels = provision.wheels(self.store, tools.wheels, file, self.index, jobs=8)
        where = f"environments/{environment.name}/{file_names.of(file_names.PYLOCK, self.platform)}"
        provision.sdists(self.store, lock.sdists, where, self.index, jobs=8)
        with stage(f"wheels of {count(len(lock.sdists), 'source-only package')}"):
            builder = self.builder()
            workshop = wheelbuild.WheelWorkshop(
                store=self.store,
                builder=builder,
                tools=wheelbuild.unpack_tools(self.store, builder, tools, python, wheels, lock.platform),
                platform=lock.platform,
                epoch=LAYER_MTIME,
            )
            return wheelbuild.build_all(workshop, lock, environment, jobs=self.jobs)

    def _tools(self, environment: EnvironmentSpec, lock: PyPILock, file: str) -> PyPILock:
        try:
            return pypi_lock.parse((self.root / file).read_text("utf-8"), file)
        except FileNotFoundError as error:
            names = [sdist.name for sdist in lock.sdists]
            raise HelioError(
                Stage.LOCK,
                f"there are no tools to build {', '.join(f'`{name}`' for name in names)} with",
                where=file,
                detail="expected the locked build tools of the environment, and the file is missing",
                hint=f"write what its build needs, e.g. [setuptools, wheel], in environments/{environment.name}/"
                f"environment.yml under x-helioimages.build.{names[0]}.requires and run "
                f"`buildimages lock {environment.name}`",
            ) from error
