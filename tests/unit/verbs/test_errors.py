"""Every verb tells every error: as lines to people and, with --json, as one object on stderr to programs."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner, Result
from command_line import main

from buildimages import VERBS
from helioimages.core.errors import HelioError, Stage
from helioimages.verbs import command

NAMES = [name for verbs in VERBS.values() for name in verbs]
ERRORS = {
    "stage": (
        HelioError(Stage.LOCK, "a lock is stale", where="x.json at y", detail="expected 1\nnot 2", hint="relock"),
        {
            "stage": "lock",
            "code": 4,
            "message": "a lock is stale",
            "where": "x.json at y",
            "detail": "expected 1\nnot 2",
            "hint": "relock",
        },
    ),
    "system": (
        OSError(28, "No space left on device", "/x"),
        {
            "stage": "host",
            "code": 11,
            "message": "the system refuses `/x`",
            "where": "",
            "detail": "No space left on device",
            "hint": "check space and rights; `buildimages --debug` shows where",
        },
    ),
    "fault": (
        KeyError("é"),
        {
            "stage": "fault",
            "code": 1,
            "message": "a fault of buildimages: KeyError",
            "where": "",
            "detail": "'é'",
            "hint": "please report it with what `buildimages --debug`, put before the verb, shows",
        },
    ),
    "interrupt": (
        KeyboardInterrupt(),
        {
            "stage": "interrupted",
            "code": 130,
            "message": "interrupted",
            "where": "",
            "detail": "",
            "hint": "the next run goes on from here",
        },
    ),
}


def call(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def words_of(name: str) -> list[str]:
    """Return a verb and as many words as it must be given."""
    words = [name]
    if name == "hub-check":
        return [name, __file__]
    for parameter in main.commands[name].params:
        if parameter.required:
            words += ["word"] if isinstance(parameter, click.Argument) else [parameter.opts[0], "word"]
    return words


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Let every verb fail before it does anything."""

    def fail(error: BaseException) -> None:
        def common(**_options: object) -> None:
            raise error

        monkeypatch.setattr(command, "Common", common)

    return fail


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_one_object(failing, name, kind):
    error, told = ERRORS[kind]
    failing(error)
    done = call(*words_of(name), "--json")
    assert (done.exit_code, done.stdout) == (told["code"], "")
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stderr) == {"error": told}
    assert list(json.loads(done.stderr)["error"]) == list(told)


@pytest.mark.parametrize("name", NAMES)
def test_a_word_that_is_refused_is_one_object(name):
    done = call(*words_of(name), "--json", "--jobs", "0")
    assert (done.exit_code, done.stdout) == (2, "")
    assert json.loads(done.stderr)["error"] == {
        "stage": "usage",
        "code": 2,
        "message": "Invalid value for '--jobs': 0 is not in the range x>=1.",
        "where": "",
        "detail": "",
        "hint": f"buildimages {name} --help",
    }


def test_a_misspelt_verb_is_one_object():
    done = call("biuld", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stderr)["error"]["message"].startswith("No such command 'biuld'.")
    assert "build" in json.loads(done.stderr)["error"]["message"]


def test_what_follows_two_dashes_asks_for_nothing():
    done = call("build", "--jobs", "0", "--", "--json")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (2, "Usage: buildimages build [OPTIONS] [NAMES]...")


def test_help_beside_json_is_help():
    done = call("build", "--json", "--help")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "Usage: buildimages build [OPTIONS] [NAMES]...")


def test_a_fault_is_lines_without_a_traceback(failing):
    failing(KeyError("x"))
    done = call("build")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: a fault of buildimages: KeyError\n  'x'\n\n"
        "hint: please report it with what `buildimages --debug`, put before the verb, shows\n"
    )


@pytest.mark.parametrize("kind", ["stage", "system", "fault"])
def test_who_debugs_sees_where_it_was_raised(failing, kind):
    error, _ = ERRORS[kind]
    failing(error)
    done = call("--debug", "build", "--json")
    assert done.exception is error
