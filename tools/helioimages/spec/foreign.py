"""What other tools wrote of an environment: environment.yml, their locks, requirements, as one list of packages. Pure.

Spec: CEP 24; conda-lock format 1; pixi.lock 4 to 7; conda's explicit files; pip, "Requirements File Format"; PEP 751;
uv.lock 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from packaging.pylock import Package, Pylock, PylockValidationError
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from ..core.errors import HelioError
from ..core.platform import Subdir
from ..core.reading import Form, Table, load_yaml, parse_toml
from . import selectors

#: Returns the text of a file beside the one that is read, None if it is not there.
Read = Callable[[str], str | None]

_CONDA_FILE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)(?:\.conda|\.tar\.bz2)")
_SPEC = re.compile(r"(?:[^\s\[]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?P<rest>[^\[]*)(?:\[(?P<keys>.*)\])?")
_PIECE = re.compile(r"(?P<op>===?|>=|<=|!=|~=|=|<|>)?\s*(?P<version>[^=\s|]+)(?:\s*=\s*(?P<build>[^=\s|]+))?")
_KEYS = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^,"'\s]+))""")
_DEEPEST = 8
_FORM = Form(
    hint="expected environment.yml, conda-lock.yml, an explicit lock, pixi.lock, requirements.txt, pylock.toml or "
    "uv.lock"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One package that is asked for.

    Attributes:
        side: ``conda`` or ``pypi``: whose name it is.
        text: as it was written, or as conda would write it.
        where: in the file, for people.
        bounds: a PEP 440 specifier, empty for any version.
        build: conda's build string, where one is asked for.
        extras, marker: of PEP 508.
        lost: why ``bounds`` does not say what was written; empty if it does.
        limit: it is no package to have, only a limit of its version.
    """

    side: str
    name: str
    text: str
    where: str
    bounds: str = ""
    build: str = ""
    extras: tuple[str, ...] = ()
    marker: str = ""
    lost: str = ""
    limit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of something that could not be kept as it was.

    Attributes:
        became: what stands for it now, empty if nothing does.
    """

    what: str
    where: str
    became: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """One file of another tool.

    Attributes:
        form: what kind of file it is, for people.
        name: the environment's, empty if the file has none.
        channels: of conda.
        rows: what was lost in reading.
    """

    form: str
    name: str = ""
    channels: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    rows: tuple[Row, ...] = ()


def read_foreign(text: str, file: str, subdir: Subdir, read: Read = lambda name: None) -> Foreign:
    """Read a file of another tool; its form is told by what is in it, and by its name.

    Args:
        file: its name, for messages.
        subdir: conda's platform; what is for others is left out.
        read: gives files beside it that it names.

    Raises:
        HelioError: it is none of the known forms, or malformed.
    """
    if file.endswith(".toml") or file.endswith("uv.lock"):
        return _toml(text, file)
    if re.search(r"^@EXPLICIT\s*$", text, re.MULTILINE):
        return _explicit(text, file, subdir)
    if file.endswith((".yml", ".yaml", "pixi.lock")) or re.search(
        r"^(version|dependencies|packages|environments):", text, re.M
    ):
        return _yaml(text, file, subdir, read)
    return _requirements(text, file, read)


def _unread(file: str, detail: str) -> HelioError:
    return HelioError(_FORM.stage, _FORM.message.format(file=file), where=file, detail=detail, hint=_FORM.hint)


def _yaml(text: str, file: str, subdir: Subdir, read: Read) -> Foreign:
    document = load_yaml(selectors.select(text, subdir, file), file, _FORM)
    names = document.names()
    if "dependencies" in names:
        return _environment(document, read)
    if "environments" in names:
        return _pixi(document, subdir)
    if "package" in names and "metadata" in names:
        return _conda_lock(document, subdir)
    raise document.wrong(
        "", "`dependencies`, `environments`, or `package` and `metadata`", ", ".join(names) or "nothing"
    )


def _environment(document: Table, read: Read) -> Foreign:
    items: list[Item] = []
    rows: list[Row] = []
    document.forget_empty("dependencies", "channels", "variables", "name")
    for index, item in enumerate(document.take("dependencies", list, [])):
        where = f"dependencies[{index}]"
        if isinstance(item, str) and (match := re.match(r"\S+://\S+", item.strip())):
            named = _of_address(match[0].partition("#")[0])
            if named is None:
                rows.append(Row(what=item, where=where, became="", why="it is not an address of a conda package"))
                continue
            exact = f"{named[0]}=={named[1]}={named[2]}"
            items.append(replace(_exact("conda", named[0], named[1], where, named[2]), text=exact))
            rows.append(Row(what=item, where=where, became=exact, why="packages are taken from a channel, by name"))
        elif isinstance(item, str) and item.strip():
            items.append(_conda_spec(item, where))
        elif isinstance(item, dict) and item.keys() == {"pip"}:
            pip = Table(item, document.file, where, document.form)
            pip.forget_empty("pip")
            for at, line in enumerate(pip.strings("pip")):
                for place, asked, limit in _pip_lines(line, f"{where}.pip[{at}]", read):
                    _line(asked, place, items, rows, limit=limit)
        elif isinstance(item, dict):
            why = "it is neither a match spec nor a `pip` list"
            rows.append(Row(what=str(item), where=where, became="", why=why))
        else:
            raise document.wrong(where, "a match spec or a `pip` list", repr(item))
    rows += [
        Row(what=f"{name}={value}", where="variables", became="", why="write it under `config.env` in image.toml")
        for name, value in document.take("variables", dict, {}).items()
    ]
    channels, name = document.strings("channels"), document.take("name", object, "")
    # A key that asks for nothing of an image, or that only we read, is nothing lost.
    rows += [
        Row(what=key, where=key, became="", why="this key of environment.yml is not understood")
        for key in document.names()
        if key not in ("prefix", "platforms", "category")
    ]
    return Foreign(
        form="conda environment",
        # A number is a name, too.
        name=str(name),
        channels=tuple(channel.strip() for channel in channels),
        items=tuple(items),
        rows=tuple(rows),
    )


def _pip_lines(line: str, where: str, read: Read) -> Iterator[tuple[str, str, bool]]:
    """Yield place, line and whether it only limits: a ``pip`` list may name requirements files."""
    if re.match(r"-r|--requirement|-c|--constraint", line.strip()):
        yield from _lines(line, where, read, 0)
    else:
        yield where, line, False


def _conda_spec(text: str, where: str) -> Item:
    """Return a match spec as an item. Spec: CEP 29."""
    spec = re.split(r"\s#", text.strip(), maxsplit=1)[0].strip()
    match = _SPEC.fullmatch(spec)
    if match is None or "://" in spec:
        return Item(side="conda", name=spec, text=text, where=where, lost="it is not a match spec that names a package")
    keys = {key: a or b or c for key, a, b, c in _KEYS.findall(match["keys"] or "")}
    item = Item(side="conda", name=match["name"].lower(), text=text, where=where, build=keys.get("build", ""))
    written = (match["rest"] or "").strip() or keys.get("version", "")
    # `numpy 1.26.0 py313_0`: blanks part version and build.
    written = re.sub(r"(?<=[\w.*])\s+(?=[\w*])", "=", written)
    if "|" in written:
        return replace(item, lost=f"`{written}` gives alternatives, which PEP 508 cannot say")
    bounds = []
    for piece in filter(None, (part.strip() for part in written.split(","))):
        parts = _PIECE.fullmatch(piece)
        if parts is None:
            return replace(item, lost=f"`{piece}` has no form in PEP 508")
        if parts["build"]:
            item = replace(item, build=parts["build"])
        bound = _bound(parts["op"] or "", parts["version"], exact=bool(parts["build"]))
        if bound is None:
            return replace(item, lost=f"`{piece}` is not a version that PEP 440 knows")
        bounds.append(bound)
    return replace(item, bounds=",".join(filter(None, bounds)))


def _bound(op: str, version: str, *, exact: bool) -> str | None:
    """Return one bound of conda as a PEP 440 specifier, None if it has none; empty for any version.

    >>> _bound("=", "1.26", exact=False), _bound("=", "1.26.0", exact=True), _bound("", "3.9*", exact=False)
    ('==1.26.*', '==1.26.0', '==3.9.*')
    """
    if version == "*":
        return ""
    stem = version.rstrip("*").rstrip(".")
    starred = stem != version
    if op in ("", "=", "==", "===") and (starred or (op == "=" and not exact)):
        bound = f"=={stem}.*"
    elif op in ("", "=", "===") or not op:
        bound = f"=={stem}"
    else:
        # conda's `>=1.2.*` is `>=1.2`; PEP 440 takes a star with == and != only.
        bound = f"{op}{version if op in ('==', '!=') else stem}"
    try:
        return str(SpecifierSet(bound))
    except ValueError:
        return None


def _exact(side: str, name: str, version: str, where: str, build: str = "") -> Item:
    """Return a locked package as an item."""
    item = Item(side=side, name=name.lower(), text=f"{name}=={version}", where=where, build=build)
    try:
        return replace(item, bounds=f"=={Version(version)}")
    except ValueError:
        return replace(item, lost=f"`{version}` is not a version that PEP 440 knows")


def _conda_lock(document: Table, subdir: Subdir) -> Foreign:
    items, rows = [], []
    metadata = document.table("metadata", required=True)
    metadata.forget_empty("platforms", "channels")
    platforms = metadata.strings("platforms")
    if subdir not in platforms:
        raise metadata.error("platforms", f"it has no platform {subdir}, only {', '.join(platforms) or 'no other'}")
    for package in document.tables("package", required=True):
        where, name = package.key, package.text("name")
        if package.text("platform") != subdir:
            continue
        category = package.text("category", "main")
        if category != "main" or package.take("optional", object, False):
            why = f"of the category {category}: make an environment of its own of it"
            rows.append(Row(what=name, where=where, became="", why=why))
        elif package.text("manager") == "conda":
            named = _of_address(package.text("url"))
            items.append(_exact("conda", name, package.text("version"), where, named[2] if named else ""))
        else:
            items.append(_exact("pypi", name, package.text("version"), where))
    channels = tuple(channel.text("url") for channel in metadata.tables("channels"))
    return Foreign(form="conda-lock", channels=channels, items=tuple(items), rows=tuple(rows))


def _of_address(url: str) -> tuple[str, str, str] | None:
    match = _CONDA_FILE.fullmatch(_file_of(url))
    return (match["name"], match["version"], match["build"]) if match else None


def _file_of(url: str) -> str:
    """Return the name of the file that an address ends with, empty for what is no address."""
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


def _explicit(text: str, file: str, subdir: Subdir) -> Foreign:
    items, rows, channels = [], [], dict[str, None]()
    if (told := re.search(r"^# platform: (\S+)$", text, re.MULTILINE)) and told[1] != subdir:
        raise _unread(file, f"expected a lock for {subdir}, not for {told[1]}")
    for number, line in enumerate(text.splitlines(), 1):
        url = line.partition("#")[0].strip()
        if not url or url == "@EXPLICIT":
            continue
        named = _of_address(url)
        if named is None:
            rows.append(
                Row(what=line, where=f"line {number}", became="", why="it is not an address of a conda package")
            )
            continue
        items.append(_exact("conda", named[0], named[1], f"line {number}", named[2]))
        # The channel, its subdir, the file; conda shows the channels of its own host by name.
        channels[re.sub(r"^https?://conda\.anaconda\.org/(?=[^/]+$)", "", url.rsplit("/", 2)[0])] = None
    return Foreign(form="explicit conda lock", channels=tuple(channels), items=tuple(items), rows=tuple(rows))


def _pixi(document: Table, subdir: Subdir) -> Foreign:
    environments = document.table("environments", required=True)
    names = environments.names()
    if not names:
        raise document.wrong("environments", "an environment", "none")
    name = "default" if "default" in names else min(names)
    rows = [
        Row(
            what=f"environment {other}",
            where="environments",
            became="",
            why=f"only {name} is read; import it by itself",
        )
        for other in names
        if other != name
    ]
    chosen = environments.table(name, required=True)
    packages = chosen.table("packages", required=True)
    if subdir not in (platforms := packages.names()):
        raise chosen.error("packages", f"it has no platform {subdir}, only {', '.join(platforms) or 'no other'}")
    told = dict(_pixi_record(record) for record in document.tables("packages"))
    items = []
    for package in packages.tables(subdir):
        where = package.key
        side = "conda" if "conda" in package.names() else "pypi"
        address = package.text(side)
        parts = _of_address(address) if side == "conda" else _of_file(address)
        what, version = told.get(address, ("", ""))
        what, version = what or (parts[0] if parts else ""), version or (parts[1] if parts else "")
        if side == "pypi" and (parts is None or not version):
            rows.append(Row(what=what or address, where=where, became="", why="it is not from an index: " + _NOT_INDEX))
        elif not what or not version:
            rows.append(Row(what=address, where=where, became="", why="it is not an address of a conda package"))
        else:
            items.append(_exact(side, what, version, where, parts[2] if parts and side == "conda" else ""))
    return Foreign(form="pixi.lock", channels=tuple(_pixi_channels(chosen)), items=tuple(items), rows=tuple(rows))


def _pixi_record(record: Table) -> tuple[str, tuple[str, str]]:
    """Return the address of a package, its name and its version; empty what the record does not say."""
    record.forget_empty(*_ADDRESSES, "name", "version")
    addresses = [record.text(key, "") for key in _ADDRESSES]
    return next(filter(None, addresses), ""), (record.text("name", ""), record.text("version", ""))


#: Where the versions of pixi.lock have a package's address.
_ADDRESSES = ("conda", "pypi", "url", "path")


def _pixi_channels(chosen: Table) -> Iterator[str]:
    chosen.forget_empty("channels")
    for index, channel in enumerate(chosen.take("channels", list, [])):
        if isinstance(channel, str):
            yield channel
        else:
            yield Table(channel, chosen.file, chosen.at(f"channels[{index}]"), chosen.form).text("url")


_NOT_INDEX = "only released versions are locked"


def _of_file(url: str) -> tuple[str, str, str] | None:
    """Return name and version of a wheel's or a source's address; None for a folder or a repository."""
    if not url.startswith(("https://", "http://")):
        return None
    file = _file_of(url)
    try:
        name, version = parse_wheel_filename(file)[:2] if file.endswith(".whl") else parse_sdist_filename(file)
    except ValueError:
        return None
    return name, str(version), ""


def _toml(text: str, file: str) -> Foreign:
    parsed = parse_toml(text, file, _FORM)
    document = Table(parsed, file, form=_FORM)
    names = document.names()
    if "lock-version" in names:
        try:
            # The reference parser, which names the key as well.
            lock = Pylock.from_dict(parsed)
            lock.validate()
        except PylockValidationError as error:
            raise document.error(error.context or "", error.message) from error
        return _pylock(lock)
    if "package" in names and "version" in names:
        return _uv(document)
    told = ", ".join(names) or "nothing"
    raise document.wrong("", "`lock-version` of pylock.toml, or `version` and `package` of uv.lock", told)


def _pylock(lock: Pylock) -> Foreign:
    items, rows = [], []
    for index, package in enumerate(lock.packages):
        where = f"packages[{index}]"
        if package.version is None or not (package.wheels or package.sdist):
            rows.append(Row(what=package.name, where=where, became="", why=_kind(package) + ": " + _NOT_INDEX))
            continue
        item = _exact("pypi", package.name, str(package.version), where)
        items.append(replace(item, marker=str(package.marker) if package.marker else ""))
    return Foreign(form="pylock.toml", items=tuple(items), rows=tuple(rows))


def _kind(package: Package) -> str:
    if package.vcs:
        return "it is from a repository"
    return "it is a folder" if package.directory else "it is not from an index"


def _uv(document: Table) -> Foreign:
    items: dict[str, Item] = {}
    rows = []
    for package in document.tables("package", required=True):
        where, name, source = package.key, package.text("name"), package.table("source")
        kinds = source.names()
        if "virtual" in kinds or source.take("editable", object, "") == ".":
            rows.append(Row(what=name, where=where, became="", why="the project itself, which is not from an index"))
        elif "registry" not in kinds:
            told = ", ".join(kinds) or "nowhere"
            rows.append(Row(what=name, where=where, became="", why=f"it is from {told}: {_NOT_INDEX}"))
        elif name in items:
            why = "the lock has several versions of it, each for other machines or Pythons"
            items[name] = replace(items[name], bounds="", lost=why)
        else:
            items[name] = _exact("pypi", name, package.text("version"), where)
    return Foreign(form="uv.lock", items=tuple(items.values()), rows=tuple(rows))


def _requirements(text: str, file: str, read: Read) -> Foreign:
    items: list[Item] = []
    rows: list[Row] = []
    for where, line, limit in _lines(text, file, read, 0):
        _line(line, where, items, rows, limit=limit)
    if not items and not rows:
        raise _unread(file, "it names no package")
    return Foreign(form="requirements", items=tuple(items), rows=tuple(rows))


def _lines(text: str, file: str, read: Read, depth: int) -> Iterator[tuple[str, str, bool]]:
    """Yield place, line and whether it only limits; files that ``-r`` and ``-c`` name are read in place."""
    for number, line in enumerate(re.sub(r"[ \t]*\\\r?\n[ \t]*", " ", text).splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not line:
            continue
        named = re.fullmatch(r"(-r|--requirement|-c|--constraint)[ =]?\s*(\S+)", line)
        inner = read(named[2].removeprefix("./")) if named and depth < _DEEPEST else None
        if named is None or inner is None:
            yield f"{file} line {number}", line, False
            continue
        for where, asked, limit in _lines(inner, named[2], read, depth + 1):
            yield where, asked, limit or named[1].startswith(("-c", "--c"))


def _line(text: str, where: str, items: list[Item], rows: list[Row], *, limit: bool = False) -> None:
    # Hashes are of files; the lock has its own.
    line = re.sub(r"\s+--hash[= ]\S+", "", re.sub(r"(^|\s)#.*", "", str(text))).strip()
    if not line:
        return
    try:
        parsed = Requirement(line)
    except ValueError:
        why = "an option of pip" if line.startswith("-") else _NOT_INDEX
        rows.append(Row(what=line, where=where, became="", why=why))
        return
    if parsed.url:
        rows.append(Row(what=line, where=where, became="", why=f"it is from an address: {_NOT_INDEX}"))
        return
    items.append(
        Item(
            side="pypi",
            name=parsed.name,
            text=line,
            where=where,
            bounds=str(parsed.specifier),
            extras=tuple(sorted(parsed.extras)),
            marker=str(parsed.marker) if parsed.marker else "",
            limit=limit,
        )
    )
