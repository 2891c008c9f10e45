"""Match specs as people write them in environment.yml: what is handed to rattler, and what to write where it refuses.

rattler reads what conda reads (``python=3.13.*``, ``numpy=1.26.0=py313h_0``, ``x>=2=*cuda*``, ``pkg[build=…]``) as long
as it is not asked to be strict. Ours to decide is what a lock of one channel cannot mean: packages of another channel,
and files instead of packages.

Spec: CEP 29 (the MatchSpec minilanguage).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

#: What a hint says where nothing better is known.
HINT = "write match specs such as `python 3.13.*` in environment.yml"

_FILE = re.compile(r"(?:.*/)?(?P<name>[^/]+)-(?P<version>[^-/]+)-(?P<build>[^-/]+)(?:\.conda|\.tar\.bz2)(?:#\w+)?")
_SUBDIR = re.compile(r"noarch|(?:linux|osx|win|freebsd|emscripten|wasi|zos)-\w+")
_BRACKET = re.compile(r"(?P<head>[^\[]*)\[(?P<keys>.*)\]\s*", re.DOTALL)
_KEY_CHANNEL = re.compile(r"""(?:^|,)\s*channel\s*=\s*(?P<quote>["']?)(?P<channel>[^"',]+)(?P=quote)\s*(?=,|$)""")
_NAME = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Exception):
    """A spec that is not locked: why, and what to write instead."""

    spec: str
    reason: str
    hint: str


def understand(text: str, channel: str) -> str:
    """Return a spec as rattler is asked it, for a lock of one channel.

    Args:
        text: an item of ``dependencies``.
        channel: the name of the channel that the lock is of.

    Raises:
        Refused: it asks for another channel, or for a file.

    >>> understand("conda-forge::numpy=1.26", "conda-forge")
    'numpy=1.26'
    >>> understand("conda-forge/linux-64::numpy", "conda-forge")
    'numpy[subdir=linux-64]'
    """
    spec = re.split(r"\s#", text.strip(), maxsplit=1)[0].strip()
    if match := _FILE.fullmatch(spec):
        exact = f"{match['name']}=={match['version']}={match['build']}"
        raise Refused(spec=text, reason="names a file; packages are taken from a channel", hint=f"write `{exact}`")
    if re.search(r"\[.*\burl\s*=", spec):
        raise Refused(spec=text, reason="names a file; packages are taken from a channel", hint=f"write `{bare(spec)}`")
    wanted, subdir, spec = _channel(spec)
    if wanted and wanted != channel:
        raise Refused(
            spec=text,
            reason=f"asks for the channel `{wanted}`, and this lock is of the channel `{channel}`",
            hint=f"write `{spec}`, or lock with --channel {wanted}",
        )
    if not subdir:
        return spec
    return f"{spec[:-1]},subdir={subdir}]" if spec.endswith("]") else f"{spec}[subdir={subdir}]"


def _place(spec: str) -> tuple[str, str]:
    """Return the channel as it is written, and the spec without it."""
    place, colons, rest = spec.partition("::")
    if colons and "[" not in place and not re.search(r"\s", place):
        spec = rest.strip()
    else:
        place = ""
        if (bracket := _BRACKET.fullmatch(spec)) and (key := _KEY_CHANNEL.search(bracket["keys"])):
            place = key["channel"].strip()
            left = (bracket["keys"][: key.start()] + bracket["keys"][key.end() :]).strip(", ")
            spec = bracket["head"].strip() + (f"[{left}]" if left else "")
    return place, spec


def _channel(spec: str) -> tuple[str, str, str]:
    """Return the channel's name, the subdir, and the spec without them; what is not told is empty."""
    place, spec = _place(spec)
    parts = [part for part in place.split("/") if part]
    subdir = parts.pop() if len(parts) > 1 and _SUBDIR.fullmatch(parts[-1]) else ""
    # `https://host/t/…/conda-forge` and `conda-forge` are one channel; a lock holds its name.
    return (parts[-1] if parts else "", subdir, spec)


def among(text: str, known: Callable[[str], str], channels: Collection[str]) -> tuple[str, str]:
    """Return a spec as rattler is asked it, and the one channel that it is asked of, empty if any may have it.

    Args:
        text: an item of ``dependencies``.
        known: gives a channel's name for how people write it.
        channels: the names of the environment's channels.

    Raises:
        Refused: it asks for a file, or for a channel that ``channels:`` does not name.
    """
    spec = re.split(r"\s#", text.strip(), maxsplit=1)[0].strip()
    place, rest = _place(spec)
    if not place:
        return understand(text, ""), ""
    head, _, last = place.rpartition("/")
    subdir = last if head and _SUBDIR.fullmatch(last) else ""
    name = known(head if subdir else place)
    if name not in channels:
        raise Refused(
            spec=text,
            reason=f"asks for the channel `{name}`, which is none of the environment's: {', '.join(channels)}",
            hint=f"add `{name}` to channels in environment.yml, or write `{rest}`",
        )
    understood = understand(rest, "")
    if subdir:
        more = f"subdir={subdir}]"
        understood = f"{understood[:-1]},{more}" if understood.endswith("]") else f"{understood}[{more}"
    return understood, name


def bare(spec: str) -> str:
    """Return a spec's package name, or ``name`` where there is none."""
    match = _NAME.match(_channel(spec)[2])
    return match["name"] if match else "name"


def advice(spec: str) -> str:
    """Return what to write instead of a spec that rattler does not take."""
    text = spec.strip()
    match = _NAME.fullmatch(text)
    if ";" in text or re.fullmatch(r"[\w.-]+\[[\w., -]*\].*", text):
        return f"extras and markers are PyPI's: put `{text}` under `pip:`"
    if match is None:
        return HINT
    name, rest = match["name"], match["rest"].replace(" ", "")
    if rest.startswith("*"):
        return "name each package, e.g. `python 3.13.*`"
    if swapped := re.fullmatch(r"=([<>])=?([\w.!+]+)(.*)", rest):
        return f"write `{name}{swapped[1]}={swapped[2]}`"
    if exact := re.fullmatch(r"===([\w.!+]+)", rest):
        return f"write `{name}=={exact[1]}`"
    if compatible := re.fullmatch(r"~([\w.!+]+)", rest):
        return f"write `{name}~={compatible[1]}`"
    if caret := re.fullmatch(r"\^=?((\d+)[\w.!+]*)", rest):
        return f"write `{name}>={caret[1]},<{int(caret[2]) + 1}`"
    if re.fullmatch(r"=+", rest):
        return f"write `{name}`"
    if middle := re.fullmatch(r"[=<>!~]*([\w.!+]+?)\.?\*[.\w].*", rest):
        return f"a `*` can only end a version: write `{name}={middle[1]}.*`, or a range such as `{name}>={middle[1]}`"
    return HINT
