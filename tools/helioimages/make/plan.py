"""The plan of an image: its layers, their keys and what its config says. Pure: locks and specs in, a value out.

`plan_images` makes an `ImagePlan` of each image and of its ancestors. `building` executes it; `render`, `delta`,
`prune` and `budget` read it. Nothing here reads a disk: what must be read (locks, own files) is in `PlanInputs`.

Which package goes into which layer depends on that package alone: one whose artefact is large has a layer of its own,
a smaller one shares a bucket chosen by a hash of its name, the small ones among them buckets of their own. So adding,
removing or upgrading one package touches one layer and moves no other package, which is what makes rebuilds, pushes and
pulls small. (Popularity, as some tools use, would reshuffle layers when the world changes, and neighbours would when
the environment does.)

Order, lowest first: Debian, conda packages, large wheels by name, buckets by number, those of small ones, the image's
own files.
An engine must extract again whatever lies above a changed layer, and small packages change most often.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from ..core.digest import key_of
from ..core.entries import LINKER_VERSION, Entry, directory
from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..debian.lock import AptLock
from ..locks import read
from ..locks.read import Locks
from ..oci.image import Settings
from ..oci.layer import LIBDEFLATE_6
from ..spec.environment import EnvironmentSpec
from ..spec.image import ImageSpec, UserSpec
from ..spec.lineage import lineage
from .labels import BASE_DIGEST, labels
from .variables import variables

#: Where the environment is in every image.
PREFIX = "/srv/conda/envs/notebook"
#: What compresses every layer. Layers' keys name it, so a new one makes every layer anew.
COMPRESSOR = LIBDEFLATE_6
#: Raised when the same Debian packages would give another layer.
DEBIAN_FORMAT = 5
#: Wheels of fewer bytes are small: they may have buckets of their own, so that the many changes among them do not
#: make nodes pull what is larger. `benchmarks/year.py` tells what that is worth.
SMALL_BYTES = 1 << 20
#: What an engine with overlay2 can stack, less a reserve for those who extend the image.
MAX_LAYERS = 120


class LayerKind(enum.Enum):
    """What a layer is made of, and so who makes it."""

    DEBIAN = "debian"
    PACKAGES = "packages"
    FILES = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Packages that share a layer, and the layer's name for people (``python``, ``wheels-07``)."""

    name: str
    packages: tuple[Package, ...]

    @property
    def size(self) -> int:
        """Bytes of the artefacts, a measure of the work."""
        return sum(package.size for package in self.packages)

    def key(self, *, prefix: str, interpreter: str, compressor: str) -> str:
        """Return the layer's key: equal keys mean equal bytes.

        Args:
            prefix: absolute, where the environment is.
            interpreter: names the interpreter that compiles (its artefact's sha256), since .pyc depend on it.
            compressor: name, version and level.
        """
        return key_of(
            {
                "linker": LINKER_VERSION,
                "prefix": prefix,
                "interpreter": interpreter,
                "compressor": compressor,
                "packages": sorted(_named(package) for package in self.packages),
            }
        )


def _named(package: Package) -> list[object]:
    """Return what of a package decides the bytes of its layer; an unchanged package has the key it always had."""
    changes: list[object] = [[patch.sha256 for patch in package.patches]] if package.patches else []
    changes += [{"asks-less": sorted(left.name for left in package.without)}] if package.without else []
    changes += [{"ran": package.ran}] if package.ran else []
    changes += [{"left-out": sorted(package.left_out)}] if package.left_out else []
    return [package.kind, package.sha256, package.file_name, sorted(package.dropped), *changes]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """One layer, before it is made.

    Attributes:
        image: whose layer it is, an ancestor's too.
        name: for people: ``debian``, ``python``, ``wheels-07``, ``files``.
        key: equal keys mean equal bytes, so a layer is remembered by it.
        comment: what is in it, for people.
        size: bytes of what it is made from, an estimate of its own bytes and of the work.
        packages: of conda and PyPI; none in the other kinds of layers.
    """

    image: str
    kind: LayerKind
    name: str
    key: str
    comment: str
    size: int
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """Where a package of an image lies over one of an ancestor's, since ``x-helioimages.clobber`` says so.

    Attributes:
        pattern: of paths in the prefix.
        winner, loser: the packages, as `Package.origin` calls them.
    """

    pattern: str
    winner: str
    loser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFiles:
    """The files of ``images/<name>/files``, as they were read.

    Attributes:
        digest: of their paths, contents, links and executable bits; see `read.files_digest`.
        entries: of the layer, sorted by path, without the directories of image.toml.
    """

    digest: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """All that a plan is made from, by name: of an image and of all its ancestors."""

    images: Mapping[str, ImageSpec]
    environments: Mapping[str, EnvironmentSpec]
    locks: Mapping[str, Locks]
    files: Mapping[str, OwnFiles]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """One image, before it is made.

    Attributes:
        layers: its own, lowest first, without its ancestors'; `stack` has those too.
        labels: what it says beyond its parent, but for the parent's digest, which is known when that is built.
        account: whom the image runs as, its own or an ancestor's; Debian's layer has it in ``/etc/passwd``.
        files: entries of its last layer.
        compressor: name, version and level.
        covers: what of its ancestors' its packages lie over.
    """

    spec: ImageSpec
    locks: Locks
    parent: ImagePlan | None
    layers: tuple[LayerPlan, ...]
    labels: Mapping[str, str]
    account: UserSpec | None
    files: tuple[Entry, ...]
    compressor: str
    covers: tuple[Cover, ...] = ()

    @property
    def name(self) -> str:
        """The image's name."""
        return self.spec.name

    @property
    def tag(self) -> str:
        """The lock tag, which names the same image for ever."""
        return "lock-" + self.locks.digest.removeprefix("sha256:")[:12]

    @property
    def platform(self) -> Platform:
        """What the image runs on."""
        return self.locks.pypi.platform

    @property
    def line(self) -> tuple[ImagePlan, ...]:
        """The image's ancestors and itself, the oldest first."""
        return (*(self.parent.line if self.parent else ()), self)

    @property
    def stack(self) -> tuple[LayerPlan, ...]:
        """Every layer, lowest first, its ancestors' too."""
        return tuple(layer for image in self.line for layer in image.layers)

    @property
    def new_labels(self) -> Mapping[str, str]:
        """The labels whose value differs from what the ancestors say."""
        inherited: dict[str, str] = {}
        for image in self.line[:-1]:
            inherited |= image.labels
        return {key: value for key, value in (inherited | dict(self.labels)).items() if inherited.get(key) != value}

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that the image sets beyond its parent's."""
        return variables(tuple(image.spec for image in self.line), self.locks)

    def settings(self, base_digest: str | None) -> Settings:
        """Return what the image's config says beyond its parent's.

        Args:
            base_digest: of the parent's manifest; None without a parent.
        """
        image = self.spec
        return Settings(
            env=self.env,
            labels=self.labels if base_digest is None else {**self.labels, BASE_DIGEST: base_digest},
            exposed_ports=image.ports,
            user=str(image.user.uid) if image.user else None,
            working_dir=image.workdir or None,
            entrypoint=image.entrypoint or None,
            cmd=image.cmd or None,
        )


def plan_images(inputs: PlanInputs, names: Collection[str]) -> dict[str, ImagePlan]:
    """Return the plans of images by name, in the order of ``names``, each ancestor planned once.

    Raises:
        HelioError: the locks of an image and its parent differ, two sides of ``clobber`` are not locked, the packages
            are for two CUDA majors, or the image has too many layers.
    """

    @cache
    def packages(image: str) -> tuple[Package, ...]:
        return read.packages(inputs.locks[image], inputs.environments[inputs.images[image].environment])

    plans: dict[str, ImagePlan] = {}
    for name in names:
        plan: ImagePlan | None = None
        for image in lineage(inputs.images, name):
            if image.name not in plans:
                plans[image.name] = _plan_one(inputs, image, plan, packages)
            plan = plans[image.name]
    return {name: plans[name] for name in names}


def _plan_one(
    inputs: PlanInputs, image: ImageSpec, parent: ImagePlan | None, packages_of: Callable[[str], tuple[Package, ...]]
) -> ImagePlan:
    locks, environment = inputs.locks[image.name], inputs.environments[image.environment]
    packages = packages_of(image.name)
    covers: tuple[Cover, ...] = ()
    if parent:
        below = packages_of(parent.name)
        packages = own_packages(packages, below)
        covers = tuple(_covers(environment.clobber, packages, below))
    account = parent.account if parent and parent.account else image.user
    own = inputs.files[image.name]
    files = (*own.entries, *_dirs(image))
    layers = (
        *_debian_layer(image.name, locks.apt, parent.locks.apt if parent else None, account),
        *_package_layers(image, locks, packages),
        *_files_layer(image, own, files),
    )
    check_count(image.name, len(layers) + (len(parent.stack) if parent else 0))
    return ImagePlan(
        spec=image,
        locks=locks,
        parent=parent,
        layers=layers,
        labels=labels(image, locks, environment),
        account=account,
        files=files,
        compressor=COMPRESSOR.name,
        covers=covers,
    )


def _covers(clobber: Mapping[str, str], mine: Iterable[Package], parents: Iterable[Package]) -> Iterator[Cover]:
    """Yield what ``clobber`` gives an image's own wheels of its parent's, whose layers stay as they are."""
    own, below = (
        {package.name: package.origin for package in side if package.kind == "wheel"} for side in (mine, parents)
    )
    for pattern, text in clobber.items():
        winner, _, losers = text.partition(" over ")
        for loser in losers.split(", "):
            if winner in own and loser in below:
                yield Cover(pattern=pattern, winner=own[winner], loser=below[loser])


def debian_needed(lock: AptLock, parent: AptLock | None) -> bool:
    """Say whether an image has a Debian layer: a child that adds no package has none."""
    return parent is None or lock.packages != parent.packages


def debian_key(lock: AptLock, parent: AptLock | None, account: UserSpec | None) -> str:
    """Return the key of a Debian layer."""
    user = dataclasses.asdict(account) if account else None
    return key_of(["debian", DEBIAN_FORMAT, lock.key, parent.key if parent else None, user, COMPRESSOR.name])


def files_key(image: ImageSpec, digest: str) -> str:
    """Return the key of the layer of an image's own files, whose digest is given."""
    return key_of(["files", digest, [dataclasses.asdict(folder) for folder in image.dirs], COMPRESSOR.name])


def _debian_layer(image: str, lock: AptLock, parent: AptLock | None, account: UserSpec | None) -> tuple[LayerPlan, ...]:
    """Return the Debian layer, if there is one: the root file system, or what this image's packages add to it."""
    if not debian_needed(lock, parent):
        return ()
    names = {deb.name for deb in parent.packages} if parent else set()
    files = {deb.sha256 for deb in parent.packages} if parent else set()
    added = sorted(f"{deb.name} {deb.version}" for deb in lock.packages if deb.name not in names)
    return (
        LayerPlan(
            image=image,
            kind=LayerKind.DEBIAN,
            name="debian",
            key=debian_key(lock, parent, account),
            comment=f"Debian {lock.suite}: " + ", ".join(added),
            size=sum(deb.size for deb in lock.packages if deb.sha256 not in files),
        ),
    )


def _package_layers(image: ImageSpec, locks: Locks, packages: Iterable[Package]) -> tuple[LayerPlan, ...]:
    return tuple(
        LayerPlan(
            image=image.name,
            kind=LayerKind.PACKAGES,
            name=group.name,
            key=group.key(prefix=PREFIX, interpreter=locks.python.sha256, compressor=COMPRESSOR.name),
            comment=f"{group.name}: " + ", ".join(f"{package.name} {package.version}" for package in group.packages),
            size=group.size,
            packages=group.packages,
        )
        for group in plan_layers(
            packages, alone_bytes=image.alone_bytes, buckets=image.buckets, small_buckets=image.small_buckets
        )
    )


def _files_layer(image: ImageSpec, own: OwnFiles, files: tuple[Entry, ...]) -> tuple[LayerPlan, ...]:
    """Return the layer of ``images/<name>/files`` and the directories of image.toml, if there are any."""
    if not files:
        return ()
    return (
        LayerPlan(
            image=image.name,
            kind=LayerKind.FILES,
            name="files",
            key=files_key(image, own.digest),
            comment=f"files of images/{image.name}",
            size=sum(entry.content.size for entry in files if entry.content),
        ),
    )


def _dirs(image: ImageSpec) -> tuple[Entry, ...]:
    origin = f"images/{image.name}/image.toml"
    return tuple(directory(d.path, mode=d.mode, uid=d.uid, gid=d.gid, origin=origin) for d in image.dirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelves:
    alone: list[Package] = field(default_factory=list)
    buckets: dict[str, list[Package]] = field(default_factory=dict)


def bucket_of(name: str, buckets: int) -> int:
    """Return the bucket of a package: a hash of its name, so that it never moves.

    >>> bucket_of("numpy", 16) == bucket_of("numpy", 16)
    True
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % buckets


def plan_layers(
    packages: Iterable[Package], *, alone_bytes: int, buckets: int, small_buckets: int = 0
) -> tuple[Group, ...]:
    """Return the package layers of one image, lowest first.

    Args:
        packages: those that the parent image does not have; order does not matter.
        alone_bytes: artefacts of at least this many bytes have a layer of their own.
        buckets: layers that the smaller wheels share.
        small_buckets: layers that those of less than `SMALL_BYTES` share instead; 0 for none.

    Worked example, in MiB, ``alone_bytes=10``, ``buckets=2`` and ``small_buckets=1``::

        conda python 90, conda zlib 0.1, wheel torch 80, wheel numpy 5, wheel six 0.1
        -> python | conda | torch | wheels-01 | wheels-small-00
    """
    shelves = {"conda": _Shelves(), "wheel": _Shelves()}
    for package in packages:
        shelf = shelves[package.kind]
        if package.size >= alone_bytes:
            shelf.alone.append(package)
        else:
            shelf.buckets.setdefault(_shared(package, buckets, small_buckets), []).append(package)
    layers = []
    for shelf in shelves.values():
        layers += [Group(name=p.name, packages=(p,)) for p in sorted(shelf.alone, key=_by_name)]
        for name, members in sorted(shelf.buckets.items()):
            layers.append(Group(name=name, packages=tuple(sorted(members, key=_by_name))))
    return tuple(layers)


def _shared(package: Package, buckets: int, small_buckets: int) -> str:
    """Return the name of the layer that a package shares; names are in the order of the layers."""
    if package.kind != "wheel":
        # The conda part is a handful of libraries below the interpreter: one bucket.
        return "conda"
    if small_buckets and package.size < SMALL_BYTES:
        return f"wheels-small-{bucket_of(package.name, small_buckets):02}"
    return f"wheels-{bucket_of(package.name, buckets):02}"


def check_count(image: str, count: int) -> None:
    """Refuse an image with more layers than engines take.

    Raises:
        HelioError: names the image and the key to change.
    """
    if count > MAX_LAYERS:
        raise HelioError(
            Stage.BUILD,
            f"image `{image}` has too many layers",
            where=f"images/{image}/image.toml at layers",
            detail=f"expected at most {MAX_LAYERS} not {count}",
            hint="raise layers.alone-mib, or lower layers.buckets or layers.small-buckets",
        )


def own_packages(mine: Iterable[Package], parents: Iterable[Package]) -> tuple[Package, ...]:
    """Return what the parent image does not have.

    Raises:
        HelioError: the parent has another artefact of the same package; a child is a superset at the same versions.
    """
    have: Mapping[tuple[str, str], Package] = {(p.kind, p.name): p for p in parents}
    own = []
    for package in mine:
        other = have.get((package.kind, package.name))
        if other is None:
            own.append(package)
        elif other.sha256 != package.sha256:
            raise HelioError(
                Stage.BUILD,
                f"`{package.name}` differs from the parent image's",
                detail=f"expected {other.file_name} not {package.file_name}",
                hint="run `buildimages lock`",
            )
        elif (theirs := _changes(other)) != (ours := _changes(package)):
            raise HelioError(
                Stage.BUILD,
                f"`{package.name}` has other changes than in the parent image",
                detail=f"expected {theirs or 'none'} not {ours or 'none'}",
                hint="run `buildimages lock`",
            )
    return tuple(own)


def _changes(package: Package) -> str:
    patches = [f"{patch.path} (sha256:{patch.sha256[:12]}…)" for patch in package.patches]
    ran = [f"post-link sha256:{package.ran[:12]}…"] if package.ran else []
    return ", ".join([*patches, *(f"without {left.name}" for left in package.without), *ran])


def _by_name(package: Package) -> tuple[str, str]:
    return (package.name, package.file_name)
