"""Progress: rows with a clock in a terminal, a line a step in a log, an object a line for machines."""

from __future__ import annotations

import io
import json
import threading

import pytest
from rich.console import Console

from helioimages.core import progress, rows


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    monkeypatch.delenv("TERM", raising=False)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep the lines of a log, without their seconds."""
    said: list[str] = []
    monkeypatch.setattr(progress, "say", lambda text: said.append(text.removesuffix("s").rstrip("0123456789. ")))
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    return said


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Stand a terminal in for stderr; rows show at once."""
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(rows, "console", Console(file=shown, force_terminal=True, width=120, color_system=None))
    monkeypatch.setattr(rows, "_SHOWN_S", 0.0)
    return shown


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Ask for events, and return what reads them, without their seconds."""
    monkeypatch.setenv(progress.VARIABLE, "json")

    def read() -> list[dict[str, object]]:
        rows = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        for row in rows:
            assert row.pop("seconds", 0.0) >= 0
        return rows

    return read


def fresh(shown: io.StringIO) -> str:
    """Return what the terminal shows after a moment."""
    shown_now = rows.screen._rows
    assert shown_now is not None
    shown_now.refresh()
    return shown.getvalue()


@pytest.mark.parametrize(
    ("total", "unit", "said"),
    [(0, "item", "0 items"), (1, "build", "1 build"), (2, "item", "2 items"), (1_500_000, "bytes", "1.5 MB")],
)
def test_one_is_not_many(lines, total, unit, said):
    with progress.bar("x", total, unit=unit) as advance:
        advance(total)
    assert lines == [f"x: {said} in"]


def test_a_log_has_a_line_of_a_step_that_lasted_a_second(lines, monkeypatch):
    with progress.step("short"):
        pass
    with progress.step("asked for", always=True):
        pass
    monkeypatch.setattr(progress, "_LINE_S", 0.0)
    with progress.step("long"):
        pass
    with progress.step("told by others", told=False):
        pass
    with progress.stage("a stage"):
        pass
    assert lines == ["    asked for:", "    long:", "==> a stage", "    a stage:"]


def test_a_terminal_shows_the_name_the_clock_and_what_is_left(terminal):
    with progress.bar("pull the layers", 4_000_000, unit="bytes") as advance, progress.step("[1] unpack"):
        advance(1_000_000)
        text = fresh(terminal)
        assert "pull the layers" in text and "1.0/4.0 MB" in text and "0:00:0" in text
        # What is in brackets is no markup.
        assert "[1] unpack" in text
    assert rows.screen._rows is None
    assert "pull the layers: 4 MB in" in terminal.getvalue()


def test_steps_of_several_threads_share_the_rows(terminal):
    inside, go = threading.Event(), threading.Event()

    def other() -> None:
        with progress.step("of a thread"):
            inside.set()
            go.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(60)
    with progress.step("of ours"):
        text = fresh(terminal)
        assert "of a thread" in text and "of ours" in text
    # The other one's row stays.
    assert rows.screen._rows is not None
    progress.close()
    assert rows.screen._rows is None
    go.set()
    thread.join(60)
    with progress.step("afterwards"):
        assert "afterwards" in fresh(terminal)
    assert rows.screen._rows is None


def test_what_is_over_at_once_has_no_row(terminal, monkeypatch):
    monkeypatch.setattr(rows, "_SHOWN_S", 3600.0)
    with progress.step("quick"):
        assert "quick" not in fresh(terminal)


def test_a_step_that_fails_takes_its_row_away(terminal):
    with pytest.raises(ValueError, match="x"), progress.bar("fails", 1):
        raise ValueError("x")
    assert rows.screen._rows is None
    assert "fails: " not in terminal.getvalue()


def test_machines_get_an_object_a_line(events, monkeypatch):
    monkeypatch.setattr(progress, "_EVENT_S", 0.0)
    progress.say("a word")
    with progress.bar("layers", 2, unit="bytes") as advance:
        advance(2)
    with pytest.raises(ValueError, match="x"), progress.stage("fails"):
        raise ValueError("x")
    amount = {"total": 2, "unit": "bytes"}
    assert events() == [
        {"event": "say", "text": "a word"},
        {"event": "begin", "step": "layers", **amount},
        {"event": "progress", "step": "layers", "done": 2, **amount},
        {"event": "end", "step": "layers", "ok": True},
        {"event": "begin", "step": "fails"},
        {"event": "end", "step": "fails", "ok": False},
    ]


def test_a_terminal_can_be_a_log(monkeypatch, terminal, capsys):
    for name, value in ((progress.VARIABLE, "plain"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with progress.step("in a log", always=True):
                assert rows.screen._rows is None
    assert capsys.readouterr().err.count("in a log") == 2
    assert terminal.getvalue() == ""
