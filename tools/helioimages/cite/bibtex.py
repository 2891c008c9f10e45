"""BibTeX, as far as citations of software need it: entries out of a text, their fields, and an entry's text. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_ENTRY = re.compile(r"@(?P<kind>[A-Za-z]+)\s*\{\s*(?P<key>[^\s,{}]+)\s*,")
_FIELD = re.compile(r"\s*,?\s*(?P<name>[A-Za-z][\w-]*)\s*=\s*")
#: TeX's accents, and the journals that astronomers' styles know by a command.
_ACCENTS = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "^": "\u0302", "~": "\u0303"}
_ACCENTS |= {"c": "\u0327", "v": "\u030c", "H": "\u030b", "u": "\u0306"}
_ACCENT = re.compile(r"\{?\\(['`\"^~]|[cvHu](?=[\s{]))\s*\{?\\?([A-Za-z])\}?\}?")
_JOURNALS = {"aap": "A&A", "aj": "AJ", "apj": "ApJ", "apjl": "ApJL", "apjs": "ApJS", "mnras": "MNRAS"}
_NOT_ENTRIES = ("comment", "preamble", "string")
#: Bytes of an entry at most; what is longer is no entry that was closed.
_MOST = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BibEntry:
    """One entry.

    Attributes:
        kind: in small letters, e.g. ``article``.
        fields: name in small letters -> value, without its braces.
    """

    kind: str
    key: str
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def doi(self) -> str:
        """The DOI without an address, empty if it has none."""
        return doi_of(self.fields.get("doi", "") or self.fields.get("url", ""))

    @property
    def authors(self) -> tuple[str, ...]:
        """The authors, as they are written there, without TeX's words."""
        names = re.split(r"\s+and\s+", plain(self.fields.get("author", ""))) if "author" in self.fields else ()
        return tuple(name.strip() for name in names if name.strip())

    def text(self) -> str:
        """Return the entry's text."""
        rows = "".join(f"  {name} = {{{value}}},\n" for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{rows}}}"


def entries(text: str) -> Iterator[BibEntry]:
    """Yield the entries of a text that may have other things in it."""
    for match in _ENTRY.finditer(text):
        kind = match["kind"].lower()
        body = _braced(text, match.start() + match[0].index("{"))
        if body is None or kind in _NOT_ENTRIES:
            continue
        fields = dict(_fields(body[len(match["key"]) + body.index(match["key"]) :]))
        if "title" in fields:
            yield BibEntry(kind=kind, key=match["key"], fields=fields)


def doi_of(text: str) -> str:
    """Return the DOI in a text, empty if there is none.

    >>> doi_of("https://doi.org/10.5281/zenodo.591887")
    '10.5281/zenodo.591887'
    """
    match = re.search(r"10\\?\.\d{4,9}/[^\s\"'<>{},\]\)|]+", text)
    return match[0].replace("\\", "").rstrip(".;") if match else ""


def plain(text: str) -> str:
    """Return a value without TeX's braces, accents and commands, as far as they are common."""
    text = re.sub(_ACCENT, lambda match: match[2] + _ACCENTS[match[1]], text)
    text = re.sub(r"\\(" + "|".join(_JOURNALS) + r")\b", lambda match: _JOURNALS[match[1]], text)
    text = re.sub(r"[{}]", "", text.replace("~", " "))
    text = re.sub(r"\\([&%_#$])", r"\1", text).replace("--", "–")
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _braced(text: str, start: int) -> str | None:
    """Return what a brace at ``start`` encloses, None if it is not closed."""
    depth = 0
    for place in range(start, min(len(text), start + _MOST)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 1 : place]
    return None


def _fields(body: str) -> Iterator[tuple[str, str]]:
    place = 0
    while match := _FIELD.match(body, place):
        place = match.end()
        if body[place : place + 1] == "{":
            value = _braced(body, place)
            if value is None:
                return
            place += len(value) + 2
        elif body[place : place + 1] == '"':
            end = body.find('"', place + 1)
            if end < 0:
                return
            value, place = body[place + 1 : end], end + 1
        else:
            word = re.compile(r"[^,\n]*").match(body, place)
            assert word is not None
            value, place = word[0].strip(), word.end()
        yield match["name"].lower(), " ".join(value.split())
