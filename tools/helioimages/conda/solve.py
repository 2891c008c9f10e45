"""Choose conda packages for what an environment asks, with rattler's solver on a channel's own files.

Nothing is looked up on the network: the channel's ``repodata.json`` files are given. The solver runs in a process of
its own (solve_worker.py says why).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core.errors import HelioError, Stage
from ..core.http import without_login
from ..core.platform import Subdir
from ..core.reading import Form, Table, load_json
from .lock import CondaPackage, package_url
from .spec import Refused, advice, understand

_WORKER = Path(__file__).with_name("solve_worker.py")

#: Seconds that a solve may take; the largest of ours takes about one.
_TIMEOUT = 300
_FORM = Form(
    stage=Stage.LOCK,
    message="the conda solver gave no answer that can be read",
    hint="report this as a bug",
    comma=False,
    json=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaQuestion:
    """What is asked, whichever channels answer.

    Attributes:
        specs: conda match specs as in environment.yml, e.g. ``python=3.13.*``; see spec.py.
        platform: e.g. ``linux-64``.
        virtual_packages: name -> version, e.g. ``{"__glibc": "2.41", "__archspec": "x86_64"}``; no others exist.
        locked: chosen again where that is possible; those that the channel no longer has are forgotten.
        pinned: chosen as they are, or the solve fails.
        exclude_newer: packages made after this moment, or with no time at all, do not exist. Needs a time zone.
        where: the file that has the specs, for messages.
    """

    specs: Sequence[str]
    platform: Subdir
    virtual_packages: Mapping[str, str]
    locked: Sequence[CondaPackage] = ()
    pinned: Sequence[CondaPackage] = ()
    exclude_newer: datetime | None = None
    where: str = ""

    def request(self) -> dict[str, Any]:
        """Return what of it the solver is told as it is; the specs depend on the channels.

        Raises:
            HelioError: the moment has no time zone.
        """
        if self.exclude_newer is not None and self.exclude_newer.tzinfo is None:
            raise HelioError(Stage.LOCK, f"exclude_newer needs a time zone: {self.exclude_newer.isoformat()}")
        return {
            "platform": self.platform,
            "virtual_packages": dict(self.virtual_packages),
            "locked": [[package.name, package.sha256] for package in self.locked],
            "pinned": [[package.name, package.sha256] for package in self.pinned],
            "exclude_newer": self.exclude_newer.timestamp() if self.exclude_newer else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPackage:
    """A package that answers, as the worker tells of it.

    Attributes:
        sha256, md5, size: None where the channel does not tell.
        channel, base: whose it is, and the address that was asked; empty where one channel was.
        timestamp: seconds since 1970 UTC, 0 where nobody tells.
    """

    name: str
    version: str
    build: str
    subdir: str
    file_name: str
    url: str
    sha256: str | None
    md5: str | None
    size: int | None
    depends: tuple[str, ...]
    purls: tuple[str, ...]
    channel: str = ""
    base: str = ""
    timestamp: int = 0

    @classmethod
    def of(cls, table: Table) -> ChosenPackage:
        """Read one record of the worker's answer.

        Raises:
            HelioError: it is something else.
        """
        texts = {key: table.text(key) for key in ("name", "version", "build", "subdir", "file_name", "url")}
        table.forget_empty("sha256", "md5", "size")
        return cls(
            **texts,
            sha256=table.text("sha256", "") or None,
            md5=table.text("md5", "") or None,
            size=table.whole_or_none("size", minimum=0),
            depends=table.strings("depends", required=True),
            purls=table.strings("purls"),
            channel=table.text("channel", ""),
            base=table.text("base", ""),
            timestamp=table.whole("timestamp", 0),
        )


def solve(question: CondaQuestion, *, channel: str, repodata_dirs: Sequence[Path]) -> tuple[CondaPackage, ...]:
    """Return the packages that answer, sorted by name.

    Args:
        channel: the channel's name, for the packages and for messages.
        repodata_dirs: folders that hold ``<platform>/repodata.json`` and ``noarch/repodata.json``.

    Raises:
        HelioError: not satisfiable (with the solver's explanation), a bad spec, or a channel that cannot be read.
    """
    platform, where = question.platform, question.where
    told = question.request()
    dirs = [folder for folder in repodata_dirs if (folder / platform / "repodata.json").is_file()]
    if not dirs:
        raise HelioError(
            Stage.LOCK,
            f"the conda channel `{channel}` has no packages for {platform}",
            where=", ".join(f"{folder}/{platform}/repodata.json" for folder in repodata_dirs),
            hint="run `buildimages channel`",
        )
    request = told | {
        "specs": _understood(question.specs, channel, where),
        "repodata_dirs": [str(folder.resolve()) for folder in repodata_dirs],
        "strict": True,
    }
    answer = ask(request, channel)
    if "unsatisfiable" in answer.names():
        asked = ", ".join(f"`{spec}`" for spec in question.specs)
        raise HelioError(
            Stage.LOCK,
            f"no set of packages of the conda channel `{channel}` answers {asked}",
            detail=answer.text("unsatisfiable").strip(),
            hint=absent_hint(answer.take("absent", list))
            or "loosen the conda section of environment.yml, or move the package to its pip section",
        )
    refuse_unusable(answer, where)
    chosen = [ChosenPackage.of(table) for table in answer.tables("packages", required=True)]
    packages = tuple(sorted((package_of(package, channel, platform) for package in chosen), key=lambda p: p.name))
    kept(packages, question.pinned, channel)
    return packages


def absent_hint(absent: Sequence[Sequence[str]]) -> str:
    """Return what to do about packages that no channel has; empty without one.

    Args:
        absent: name, and the name that is most like it in a channel, if one is.

    >>> absent_hint([["pyhton", "python"]])
    'no channel has `pyhton` (did you mean `python`?): check the name, add its channel, or move it to the pip list'
    """
    texts = [f"`{name}`" + "".join(f" (did you mean `{text}`?)" for text in near) for name, *near in absent]
    if not texts:
        return ""
    which = "its channel, or move it" if len(texts) == 1 else "their channels, or move them"
    names = "name" if len(texts) == 1 else "names"
    return f"no channel has {', '.join(texts)}: check the {names}, add {which} to the pip list"


def kept(packages: Sequence[CondaPackage], pinned: Sequence[CondaPackage], channel: str) -> None:
    """Raise if pinned packages are not among those that were found though others of their name are.

    Raises:
        HelioError: with the first one.
    """
    chosen = {(package.name, package.sha256) for package in packages}
    for package in pinned:
        if any(p.name == package.name for p in packages) and (package.name, package.sha256) not in chosen:
            raise HelioError(
                Stage.LOCK,
                f"the conda channel `{channel}` no longer has `{package.file_name}`, which is pinned",
                detail=f"expected sha256:{package.sha256}",
                hint="lock the parent environment again first",
            )


def order(packages: Sequence[CondaPackage]) -> tuple[str, ...]:
    """Return the packages' names in the order in which rattler installs them: what others need first.

    Raises:
        HelioError: rattler failed.
    """
    rows = [
        [package.name, package.version, package.build, package.subdir, list(package.depends)] for package in packages
    ]
    return ask({"order": rows}, packages[0].channel if packages else "").strings("order", required=True)


def _understood(specs: Sequence[str], channel: str, where: str) -> list[str]:
    understood, refused = [], []
    for spec in specs:
        try:
            understood.append(understand(spec, channel))
        except Refused as error:
            refused.append((error.spec, error.reason, error.hint))
    if refused:
        raise unusable(refused, where)
    return understood


def unusable(specs: Sequence[tuple[str, str, str]], where: str) -> HelioError:
    """Return the error for specs that are not locked: spec, why, and what to write instead."""
    return HelioError(
        Stage.LOCK,
        "the conda section cannot be understood",
        where=where,
        detail="\n".join(f"`{spec}`: {why}" for spec, why, _ in specs),
        hint="; ".join(dict.fromkeys(hint for _, _, hint in specs)),
    )


def refuse_unusable(answer: Table, where: str) -> None:
    """Raise if the worker cannot use specs.

    Raises:
        HelioError: with all of them.
    """
    if "unusable" in answer.names():
        rows = answer.rows("unusable", str, str)
        raise unusable([(spec, why.strip(), advice(spec)) for spec, why in rows], where)


def ask(request: dict[str, Any], channel: str) -> Table:
    """Return the worker's answer; see solve_worker.py.

    Raises:
        HelioError: it takes too long or fails, or its answer cannot be read.
    """
    # -P: the worker's folder has modules named lock and link, which must not stand in for anyone else's.
    command = [sys.executable, "-P", str(_WORKER)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            # Progress of the channels' indexes is for people.
            stderr=None if request.get("progress") else subprocess.PIPE,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise HelioError(
            Stage.LOCK,
            f"the conda solver found no answer within {_TIMEOUT} s",
            detail=", ".join(request["specs"]),
            hint="constrain the conda section of environment.yml more",
        ) from error
    if done.returncode:
        raise HelioError(
            Stage.LOCK,
            f"the conda solver failed on the channel `{channel}` (exit status {done.returncode})",
            detail=without_login((done.stderr or b"").decode(errors="replace")).strip()[-2000:],
            hint="the channel's repodata.json may be damaged; run `buildimages channel`",
        )
    answer = load_json(done.stdout, "what solve_worker.py wrote", _FORM)
    if "failed" in answer.names():
        raise HelioError(
            Stage.LOCK,
            f"the conda solver cannot read what the channel `{channel}` says",
            detail=" ".join(without_login(answer.text("failed")).split())[:2000],
            hint="its index is damaged, or a record is malformed: tell those who keep it; for `local`, run "
            "`buildimages channel`",
        )
    return answer


def package_of(chosen: ChosenPackage, channel: str, platform: Subdir, *, at: str = "") -> CondaPackage:
    """Return the locked package that a record of the worker means.

    Args:
        at: where it lies, as `CondaPackage.at`.

    Raises:
        HelioError: the channel gives no digests for it.
    """
    if chosen.sha256 is None or chosen.md5 is None:
        key = "sha256" if chosen.sha256 is None else "md5"
        raise HelioError(
            Stage.LOCK,
            f"the conda channel `{channel}` gives no {key} for `{chosen.file_name}`",
            hint="a lock needs both digests of each package; choose another build",
        )
    url = chosen.url
    # A channel of files has no place on the network, and the lock names no folder of this machine.
    if url.startswith("file:"):
        url = package_url(channel, chosen.subdir, chosen.file_name)
    return CondaPackage(
        name=chosen.name,
        version=chosen.version,
        build=chosen.build,
        platform=platform,
        subdir=chosen.subdir,
        channel=channel,
        file_name=chosen.file_name,
        url=url,
        sha256=chosen.sha256,
        md5=chosen.md5,
        size=chosen.size,
        depends=chosen.depends,
        purls=tuple(sorted(chosen.purls)),
        at=at,
    )
