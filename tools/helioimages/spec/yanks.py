"""Tags that hubs should leave: ``images/<image>/yanked.toml``, read strictly.

Pushed bytes stay for ever, so an image that turns out to be harmful is yanked by a line that people review:

    [[yanked]]
    tag = "2026.09.01"
    digest = "sha256:…"
    reason = "CVE-2026-12345: code execution when a FITS header is opened"
    date = 2026-09-14
    replacement = "2026.09.14"

An entry with ``level = "advisory"`` stays on offer, with its reason shown. The catalogue and the hub profiles ask
`find` and `offered`; the file is no input of any image, so that yanking changes no digest.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.digest import is_digest
from ..core.reading import Table, load_toml
from .tags import is_immutable

FILE = "yanked.toml"
LEVELS = ("yanked", "advisory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Yank:
    """One entry of a yanked.toml.

    Attributes:
        image: the image whose file says it.
        tag, digest: which of its images; at least one is set, and either matches.
        reason: shown to people who choose or hold the tag.
        date: of the decision.
        replacement: the tag to take instead; empty where there is none yet.
        level: ``yanked`` (never offered) or ``advisory`` (offered with its reason).
        aliases: identifiers of advisories, e.g. ``CVE-2026-12345``.
    """

    image: str
    reason: str
    date: datetime.date
    tag: str = ""
    digest: str = ""
    replacement: str = ""
    level: str = "yanked"
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The tag, or the digest of an entry without one."""
        return self.tag or self.digest


def parse(text: str, image: str, file: str) -> tuple[Yank, ...]:
    """Read one yanked.toml, in its order.

    Args:
        file: how errors call it, relative to the checkout.

    Raises:
        HelioError: with the file and the key: not TOML, a key that is not understood or missing, a tag that moves, an
            image yanked twice, or a replacement that is yanked itself.
    """
    top = load_toml(text, file)
    tables = top.tables("yanked")
    top.done()
    yanks: list[Yank] = []
    for table in tables:
        yank = _entry(table, image)
        for before in yanks:
            if before.tag == yank.tag != "" or before.digest == yank.digest != "":
                raise table.error("", f"`{yank.name}` is yanked twice")
        yanks.append(yank)
    gone = {yank.tag for yank in yanks if yank.level == "yanked" and yank.tag}
    for index, yank in enumerate(yanks):
        if yank.replacement in gone:
            raise tables[index].error(
                "replacement", f"expected a tag that is not yanked itself, not {yank.replacement!r}"
            )
    return tuple(yanks)


def _entry(table: Table, image: str) -> Yank:
    yank = Yank(
        image=image,
        tag=table.text("tag", ""),
        digest=table.text("digest", ""),
        reason=table.text("reason").strip(),
        date=table.take("date", datetime.date),
        replacement=table.text("replacement", ""),
        level=table.text("level", "yanked"),
        aliases=table.strings("aliases"),
    )
    if not yank.tag and not yank.digest:
        raise table.error("", "expected `tag`, `digest` or both, found neither")
    # `latest` names another image tomorrow: yanking it would hide good images.
    for key, tag in (("tag", yank.tag), ("replacement", yank.replacement)):
        if tag and not is_immutable(tag):
            raise table.error(key, f"expected a dated or lock tag, not {tag!r}")
    if yank.digest and not is_digest(yank.digest):
        raise table.error("digest", f"expected sha256:<64 hex digits>, not {yank.digest!r}")
    if not yank.reason:
        raise table.error("reason", "expected why, found an empty text")
    if isinstance(yank.date, datetime.datetime):
        raise table.error("date", f"expected a date without a time, not {yank.date}")
    if yank.level not in LEVELS:
        raise table.error("level", f"expected one of {', '.join(LEVELS)}, not {yank.level!r}")
    table.done()
    return yank


def find(yanks: Iterable[Yank], *, tags: Iterable[str] = (), digest: str = "") -> Yank | None:
    """Return the entry that names an image by one of its tags or its digest, the severest first; None if none does."""
    names = set(tags)
    hits = [yank for yank in yanks if (yank.tag and yank.tag in names) or (yank.digest and yank.digest == digest)]
    return min(hits, key=lambda yank: LEVELS.index(yank.level), default=None)


def offered(yanks: Iterable[Yank], digests: Mapping[str, str]) -> dict[str, str]:
    """Return the tags (tag -> digest) that may be offered: those whose image nobody yanked under any of its names.

    A yank by tag holds for its digest, so `latest` or a lock tag of the same image goes as well.
    """
    yanks = [yank for yank in yanks if yank.level == "yanked"]
    gone = {yank.digest for yank in yanks if yank.digest} | {digests[yank.tag] for yank in yanks if yank.tag in digests}
    named = {yank.tag for yank in yanks if yank.tag}
    return {tag: digest for tag, digest in digests.items() if digest not in gone and tag not in named}
