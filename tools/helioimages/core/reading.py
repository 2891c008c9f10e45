"""The one strict reader of TOML, YAML and JSON: every error names file, key, what is expected and what is there.

A `Table` hands out each key once, checked: its type, its range, its form. `done()` then refuses what nobody asked for,
so that a misspelt key is never ignored. How errors are told depends on what the document is (written by people, a lock,
a registry's answer): a `Form` says it.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, NoReturn

import yaml

from . import digest
from .errors import HelioError, Stage
from .yaml_loader import StrictLoader

#: Characters of a value that errors show: a document may be hostile, and a list long.
_SHOWN = 300
#: Keys that errors show as they are; others in quotes.
_BARE = re.compile(r"[\w./:*+!~@,-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How errors of one kind of document are told.

    Attributes:
        stage: gives the exit code.
        message: the first line; ``{file}`` stands for the file's name.
        hint: what to do about any error.
        strange: what to do about a key that is not understood; ``{file}`` as above.
        comma: whether "not" follows a comma.
        null_is_absent: whether null is no value, as Go writes what it lacks.
        json: whether JSON's words are used, and values left out since they are a stranger's.
    """

    stage: Stage = Stage.SPEC
    message: str = "cannot read `{file}`"
    hint: str = ""
    strange: str = ""
    comma: bool = True
    null_is_absent: bool = False
    json: bool = False


def literal(text: str) -> str:
    """Return a text that a form's message shows as it is, whatever is in it."""
    return text.replace("{", "{{").replace("}", "}}")


#: What people write.
SPEC = Form(strange="see docs/reference.md for the keys of {file}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The form of a text: what all of it matches, and how an error calls that, e.g. ``a Debian package name``."""

    pattern: re.Pattern[str]
    meaning: str

    @classmethod
    def of(cls, pattern: str, meaning: str) -> Shape:
        """Compile a pattern."""
        return cls(pattern=re.compile(pattern), meaning=meaning)

    def fits(self, text: str) -> bool:
        """Say whether all of a text has this form."""
        return self.pattern.fullmatch(text) is not None


SHA256 = Shape(pattern=digest.HEX, meaning="64 lower-case hexadecimal digits")
PLATFORM = Shape.of(r"[a-z0-9]+/[a-z0-9]+(?:/[a-z0-9]+)?", "a platform such as linux/amd64")


class Table:
    """A mapping of a document, read key by key.

    Args:
        value: the parsed mapping.
        file: shown in errors, relative to the checkout; empty where the key alone names the place.
        key: where in the file, e.g. ``x-helioimages.build``; empty for the document itself.
        form: how errors are told.
    """

    def __init__(self, value: Any, file: str, key: str = "", form: Form = SPEC) -> None:
        self.file, self.key, self.form = file, key, form
        if not isinstance(value, Mapping):
            raise self.error("", self._expected(self._word(dict), self._kind(value)))
        for name in value:
            if not isinstance(name, str):
                shown = f"{self._kind(name)}: {_shown(name)}"
                raise self.error("", self._expected(f"{self._word(str)} as a key", shown))
        self._left = dict(value)

    def error(self, name: str, detail: str, message: str = "", hint: str = "") -> HelioError:
        """Return an error that points at ``name`` of this table."""
        key = self.at(name)
        where = f"{self.file} at {key or 'the top level'}" if self.file else key
        return HelioError(
            self.form.stage,
            message or self.form.message.format(file=self.file),
            where=where,
            detail=detail,
            hint=hint or self.form.hint,
        )

    def wrong(self, name: str, expected: str, value: object) -> HelioError:
        """Return an error that says what is expected at ``name``, and what is there."""
        return self.error(name, self._expected(expected, str(value)))

    def strange(self, name: str) -> HelioError:
        """Return the error for a key that is not understood."""
        return self.error(name, "this key is not understood", hint=self.form.strange.format(file=self.file))

    def at(self, name: str) -> str:
        """Return the key path of ``name``."""
        return ".".join(part for part in (self.key, name) if part)

    def forget_empty(self, *names: str) -> None:
        """Take keys that stand there without a value, as tools write them, for absent."""
        for name in names:
            if self._left.get(name, "") is None:
                del self._left[name]

    def take(self, name: str, kind: type, default: Any = ...) -> Any:
        """Return the value of a key, its type checked; without a default the key must be there."""
        lacks, value = self._lacks(name), self._left.pop(name, None)
        if lacks:
            if default is not ...:
                return default
            raise self.error(name, f"expected {self._word(kind) if self.form.json else 'this key'}, found nothing")
        # bool is an int in Python, and `yes` where a number belongs is a mistake worth naming.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._mistyped(name, kind, value)
        return value

    def text(self, name: str, default: str | EllipsisType = ..., shape: Shape | None = None) -> str:
        """Return a string; where ``shape`` is given, one that has it (a default need not)."""
        absent = self._lacks(name)
        value: str = self.take(name, str, default)
        if shape and not absent:
            self._fit(name, value, shape)
        return value

    def multiline(self, name: str, default: str | EllipsisType = ...) -> str:
        """Return a text that may be written as a list of its lines. Spec: nbformat 4, "multiline strings"."""
        value = self.take(name, object, default)
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return "".join(value)
        if not isinstance(value, str):
            expected = f"{self._word(str)} or {self._word(list)} of strings"
            raise self.error(name, self._expected(expected, self._kind(value)))
        return value

    def whole(
        self,
        name: str,
        default: int | EllipsisType = ...,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
    ) -> int:
        """Return a whole number, within bounds that are themselves allowed."""
        value: int = self.take(name, int, default)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise self.wrong(name, _range(minimum, maximum), _shown(value))
        return value

    def whole_or_none(self, name: str, *, minimum: int | None = None) -> int | None:
        """Return a whole number, None where there is none."""
        return None if self._lacks(name) else self.whole(name, minimum=minimum)

    def number(
        self,
        name: str,
        default: float | EllipsisType = ...,
        *,
        above: float = -math.inf,
        minimum: float = -math.inf,
        maximum: float = math.inf,
    ) -> float:
        """Return a number more than ``above``, at least ``minimum`` and at most ``maximum``.

        It may be whole or not: TOML tells 4 from 4.0, people do not.
        """
        value = self.take(name, object, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._mistyped(name, float, value)
        bounds = (("above", above), ("at least", minimum), ("at most", maximum))
        # Of a whole number beyond all floats, no more can be told.
        if abs(value) > sys.float_info.max or not (above < value and minimum <= value <= maximum):
            told = " and".join(f" {word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
            raise self.wrong(name, f"a number{told}", _shown(value))
        return float(value)

    def flag(self, name: str, default: bool | EllipsisType = ...) -> bool:
        """Return true or false."""
        value: bool = self.take(name, bool, default)
        return value

    def strings(self, name: str, *, required: bool = False, shape: Shape | None = None) -> tuple[str, ...]:
        """Return a list of strings as a tuple; where ``shape`` is given, each has it.

        Absent means empty unless it is required.
        """
        return self._strings(name, ... if required else None, shape) or ()

    def strings_or_none(self, name: str) -> tuple[str, ...] | None:
        """Return a list of strings as a tuple, None where there is none, which may differ from an empty one."""
        return self._strings(name, None, None)

    def wholes(self, name: str, *, minimum: int, maximum: int) -> tuple[int, ...]:
        """Return a list of whole numbers as a tuple, each within bounds that are themselves allowed."""
        values = self.take(name, list)
        for index, value in enumerate(values):
            at = f"{name}[{index}]"
            if type(value) is not int:
                raise self._mistyped(at, int, value)
            if not minimum <= value <= maximum:
                raise self.wrong(at, _range(minimum, maximum), _shown(value))
        return tuple(values)

    def rows(self, name: str, *kinds: type) -> tuple[tuple[Any, ...], ...]:
        """Return the lists of a list as tuples, each as long as ``kinds`` and with values of these types."""
        rows = self.take(name, list)
        for index, row in enumerate(rows):
            at = f"{name}[{index}]"
            if not isinstance(row, list):
                raise self._mistyped(at, list, row)
            if len(row) != len(kinds):
                raise self.wrong(at, f"{len(kinds)} values", str(len(row)))
            for place, (value, kind) in enumerate(zip(row, kinds, strict=True)):
                if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                    raise self._mistyped(f"{at}[{place}]", kind, value)
        return tuple(tuple(row) for row in rows)

    def version(self, name: str, known: int) -> None:
        """Take the key that says the format's version, of which one is known."""
        if (value := self.whole(name)) != known:
            raise self.wrong(name, str(known), _shown(value))

    def _strings(self, name: str, default: Any, shape: Shape | None) -> tuple[str, ...] | None:
        values = self.take(name, list, default)
        if values is None:
            return None
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self._mistyped(f"{name}[{index}]", str, value)
            if shape:
                self._fit(f"{name}[{index}]", value, shape)
        return tuple(values)

    def mapping(
        self, name: str, *, required: bool = False, keys: Shape | None = None, values: Shape | None = None
    ) -> dict[str, str]:
        """Return a mapping of strings to strings, each of its form; absent means empty unless required."""
        mapping = self.take(name, dict) if required else self.take(name, dict, {})
        for key, value in mapping.items():
            at = f"{name}.{key}" if _BARE.fullmatch(str(key)) else f"{name}[{json.dumps(key, default=str)}]"
            if not isinstance(key, str):
                raise self.error(at, f"expected {self._word(str)} as a key{self._not}{self._kind(key)}")
            if not isinstance(value, str):
                raise self._mistyped(at, str, value)
            if keys and not keys.fits(key):
                raise self.error(at, f"expected {keys.meaning} as a key{self._not}{_shown(key)}")
            if values:
                self._fit(at, value, values)
        return dict(mapping)

    def table(self, name: str, *, required: bool = False) -> Table:
        """Return a nested table; absent means empty unless required."""
        return self._nested(name, self.take(name, dict) if required else self.take(name, dict, {}))

    def table_or_none(self, name: str) -> Table | None:
        """Return a nested table, None where there is none."""
        value = self.take(name, dict, None)
        return None if value is None else self._nested(name, value)

    def tables(self, name: str, *, required: bool = False) -> tuple[Table, ...]:
        """Return the tables of a list, each with its number in its key; absent means none unless required."""
        values = self.take(name, list) if required else self.take(name, list, [])
        return tuple(self._nested(f"{name}[{index}]", value) for index, value in enumerate(values))

    def names(self) -> tuple[str, ...]:
        """Return the keys not taken yet."""
        return tuple(name for name in self._left if not self._lacks(name))

    def done(self) -> None:
        """Refuse the keys that nobody took."""
        for name in self._left:
            raise self.strange(str(name))

    def _lacks(self, name: str) -> bool:
        return name not in self._left or (self.form.null_is_absent and self._left[name] is None)

    def _nested(self, name: str, value: Any) -> Table:
        return Table(value, self.file, self.at(name), self.form)

    def _fit(self, name: str, value: str, shape: Shape) -> None:
        if not shape.fits(value):
            raise self.wrong(name, shape.meaning, _shown(value))

    def _mistyped(self, name: str, kind: type, value: Any) -> HelioError:
        shown = "" if value is None or self.form.json else f": {_shown(value)}"
        return self.error(name, self._expected(self._word(kind), self._kind(value) + shown))

    def _expected(self, expected: str, actual: str) -> str:
        return f"expected {expected}{self._not}{actual}"

    @property
    def _not(self) -> str:
        return ", not " if self.form.comma else " not "

    def _word(self, kind: type) -> str:
        return _JSON.get(kind, _WORDS[kind]) if self.form.json else _WORDS[kind]

    def _kind(self, value: Any) -> str:
        kind = dict if isinstance(value, Mapping) else type(value)
        return self._word(kind) if kind in _WORDS else f"a {kind.__name__}"


def load_toml(text: str, file: str, form: Form = SPEC) -> Table:
    """Parse TOML, whose parser refuses a key given twice by itself.

    Raises:
        HelioError: it is not TOML.
    """
    return Table(parse_toml(text, file, form), file, form=form)


def parse_toml(text: str, file: str, form: Form = SPEC) -> dict[str, Any]:
    """Parse TOML, for another reader besides.

    Raises:
        HelioError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, form, file, error) from error


def load_yaml(text: str, file: str, form: Form = SPEC) -> Table:
    """Parse YAML, times as text, refusing duplicate keys, which YAML forbids and PyYAML lets pass.

    Raises:
        HelioError: it is not YAML, or not a mapping.
    """
    try:
        document = yaml.load(text, Loader=StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise _unreadable(file, form, file + line, getattr(error, "problem", None) or error) from error
    return Table(document, file, form=form)


def load_json(text: str | bytes, file: str, form: Form = SPEC) -> Table:
    """Parse JSON, refusing what two readers may read differently.

    Raises:
        HelioError: it is not JSON, not an object, or has a key twice in one.
    """
    try:
        document = parse_json(text)
    except json.JSONDecodeError as error:
        raise _unreadable(file, form, f"{file} at line {error.lineno}", error.msg) from error
    except ValueError as error:
        raise _unreadable(file, form, file, error) from error
    return Table(document, file, form=form)


def parse_json(text: str | bytes) -> Any:
    """Parse JSON, refusing what two readers may read differently.

    Raises:
        ValueError: it is not JSON, has a key twice in one object, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers that pick different ones of two equal keys see two different documents.
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return table


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _unreadable(file: str, form: Form, where: str, detail: object) -> HelioError:
    return HelioError(form.stage, form.message.format(file=file), where=where, detail=str(detail), hint=form.hint)


_WORDS: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
    datetime.date: "a date",
    datetime.datetime: "a time",
    type(None): "nothing",
    object: "a value",
}
_JSON: dict[type, str] = {list: "an array", dict: "an object", float: "a float"}


def _range(minimum: int | None, maximum: int | None) -> str:
    if minimum is None:
        return f"at most {maximum}"
    return f"{minimum} or more" if maximum is None else f"a number from {minimum} to {maximum}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to write numbers of thousands of digits.
        return "a number of very many digits"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
