"""Scripts that an installer would have to run: which ones there are, told of all packages at once.

conda and rattler run ``bin/.<name>-post-link.sh`` of the package of that name, conda also ``-pre-link.sh``. Others are
only files: ``.bat`` scripts are Windows', and one that carries another package's name is looked for by nobody. What
runs before a package is removed never runs in an image.

Spec: conda-build, "Adding pre-link, post-link, and pre-unlink scripts".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ..core.errors import HelioError, Stage
from .lock import CondaPackage
from .read import read_listing

SCRIPT_HINT = (
    "layers are made without running anything: choose another build or take the package from PyPI; or read the script "
    "and name it under x-helioimages.link-scripts: with `run: true` it is run in the builder while locking, without it "
    "is only a file, and what it would write goes into the image's own files"
)


def script_kind(name: str, path: str) -> str | None:
    """Return ``post-link`` or ``pre-link`` if a path of the prefix is a script that installing ``name`` runs."""
    for kind in ("post-link", "pre-link"):
        if path == f"bin/.{name}-{kind}.sh":
            return kind
    return None


def refuse_scripts(
    packages: Iterable[tuple[CondaPackage, Path]],
    stage: Stage,
    reviewed: Mapping[str, Collection[str]] | None = None,
) -> dict[tuple[str, str], str]:
    """Refuse packages that need a script to run, naming all of them.

    Returns:
        (package, sha256) -> kind, of the reviewed ones.

    Channels do not say which packages have one (no field of repodata does), so the packages' own lists are read: while
    locking where the channel's files are at hand, else once they are fetched. Of a ``.conda`` only its ``info`` half is
    unpacked.

    Args:
        packages: each with its file.
        stage: in which this is found.
        reviewed: package -> sha256 of the scripts that people read.

    Raises:
        HelioError: some need one, a reviewed one is another or is not there, or a package is malformed.
    """
    scripts, seen = [], dict[tuple[str, str], str]()
    files, read = tuple(packages), reviewed or {}
    for package, path in files:
        listing = read_listing(path, package.file_name)
        for listed in listing.paths:
            target = listed.replace("python-scripts/", "bin/", 1) if listed.startswith("python-scripts/") else listed
            if kind := script_kind(package.name, target):
                digest = listing.digests.get(listed, "")
                seen[package.name, digest] = kind
                if not digest or digest not in read.get(package.name, ()):
                    told = f"sha256:{digest}" if digest else "no digest"
                    scripts.append(f"{package.file_name}: {kind} ({listed}, {told})")
    if scripts:
        raise HelioError(
            stage,
            "conda packages have scripts that would have to run at installation",
            detail="\n".join(sorted(scripts)),
            hint=SCRIPT_HINT,
        )
    here = {package.name for package, _ in files}
    for name, digest in sorted((name, digest) for name, digests in read.items() for digest in digests):
        if name in here and (name, digest) not in seen:
            raise HelioError(
                stage,
                f"the conda package `{name}` has no such script",
                detail=f"expected one of sha256:{digest}",
                hint=f"take that entry of `{name}` off x-helioimages.link-scripts",
            )
    return seen
