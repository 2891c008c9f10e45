"""Which channels an environment's conda part comes from, as ``channels:`` says, and what to fetch of them."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ..conda.channels import ChannelPlaces
from ..conda.lock import CondaPackage
from ..core.errors import HelioError, Stage
from ..machine.fetch import WantedFile
from ..spec.environment import EnvironmentSpec
from ..spec.lineage import lineage

#: The channel that this project compiles; see channel/README.md. `--channel` may put another in its place.
LOCAL = "local"


def channels_of(
    environments: Mapping[str, EnvironmentSpec], name: str, channel: str, places: ChannelPlaces
) -> tuple[str, ...]:
    """Return an environment's channels, the first has priority: its own, then those of the ones it contains.

    Args:
        channel: what ``--channel`` puts in the place of ``local``, which is also what no channels mean.

    Raises:
        HelioError: a channel is written with a login, or does not mean one.
    """
    channels: list[str] = []
    for environment in reversed(lineage(environments, name)):
        where = f"environments/{environment.name}/environment.yml at channels"
        for at, text in enumerate(environment.channels or (LOCAL,)):
            # conda's word against channels of its own settings, of which nothing is taken here.
            if text != "nodefaults":
                known = places.name(text, f"{where}[{at}]")
                channels.append(channel if known == LOCAL else known)
    return tuple(dict.fromkeys(channels)) or (channel,)


def folders_of(given: Sequence[Path], channel: str) -> tuple[tuple[Path, ...], dict[str, Path]]:
    """Return the folders of ``--channel-dir`` that stand for the channel of ``--channel``, and the others' by name.

    >>> folders_of((Path("here"), Path("conda-forge=mirror")), "local")
    ((PosixPath('here'),), {'conda-forge': PosixPath('mirror')})

    Raises:
        HelioError: one of them is no folder of a channel.
    """
    mine: list[Path] = []
    named: dict[str, Path] = {}
    for path in given:
        name, equals, folder = str(path).rpartition("=")
        if not equals or path.exists():
            mine.append(path)
        elif name == channel:
            mine.append(Path(folder))
        elif not (Path(folder) / "noarch").is_dir():
            raise HelioError(
                Stage.USAGE,
                f"`{folder}` is not the folder of a channel",
                where=f"--channel-dir {path}",
                detail="expected noarch/repodata.json in it",
            )
        else:
            named[name] = Path(folder)
    return tuple(mine), named


def conda_file(package: CondaPackage, where: str, places: ChannelPlaces) -> WantedFile:
    """Return what to fetch of a channel: each of its addresses is tried, as `lock` asks them."""
    folders = [f"{base}/{package.subdir}/" for base in places.addresses(package.channel)]
    # An index may say that packages lie elsewhere (`base_url`). On the channel's own host that is asked first; on
    # another one last, since a mirror that is configured has them beside its index.
    own = [f"{folder}{package.file_name}" for folder in folders]
    genuine = [url for url in (package.url, package.at) if "://" in url]
    if package.at and package.at not in genuine:
        own = [_joined(folder, package.at) for folder in folders] + own
    return WantedFile(
        name=package.file_name,
        sha256=package.sha256,
        size=package.size,
        where=where,
        urls=lambda: tuple(dict.fromkeys((*own, *genuine))),
        hint=f"run `buildimages lock --update {package.name}`",
        login=places.login,
    )


def _joined(folder: str, at: str) -> str:
    """Return an address that is relative to a folder's, whatever its scheme: the standard library knows few.

    >>> _joined("s3://bucket/c/linux-64/", "../pkgs/x.conda")
    's3://bucket/c/pkgs/x.conda'
    """
    parts = urlsplit(folder)
    return urlunsplit(parts._replace(path=posixpath.normpath(parts.path + at)))
