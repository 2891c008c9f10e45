"""When to ask again, and how long to wait before."""

from __future__ import annotations

import datetime
import email.utils
import io
from collections.abc import Callable

import pytest
import requests

from helioimages.core import http


def answer(status: int, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code, response.raw = status, io.BytesIO()
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


def sender(*answers: requests.Response | Exception) -> Callable[[], requests.Response]:
    left = list(answers)

    def send() -> requests.Response:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return send


def test_waits_double_up_to_a_bound():
    assert [http.pause_s(attempt, first=1) for attempt in range(6)] == [1, 2, 4, 8, 8, 8]
    assert http.pause_s(4000) == 8


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), (" 12 ", 12.0), ("-3", 0.0), ("soon", 0.0), ("", 0.0), ("\u0661", 0.0)]
)
def test_what_a_server_asks_for(text, seconds):
    assert http.retry_after(answer(429, Retry_After=text)) == seconds


def test_a_date_may_be_asked_for(monkeypatch):
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    monkeypatch.setattr(http.time, "time", now.timestamp)
    later = email.utils.format_datetime(now + datetime.timedelta(seconds=30), usegmt=True)
    assert http.retry_after(answer(503, Retry_After=later)) == 30.0
    earlier = email.utils.format_datetime(now - datetime.timedelta(seconds=30), usegmt=True)
    assert http.retry_after(answer(503, Retry_After=earlier)) == 0.0


def test_faults_that_pass_are_waited_out():
    waits: list[float] = []
    send = sender(answer(429, Retry_After="5"), requests.ConnectionError("gone"), answer(503), answer(200))
    assert http.ask(send, sleep=waits.append).status_code == 200
    assert waits == [5.0, 0.5, 1.0]


def test_the_last_answer_is_given_whatever_it_is():
    waits: list[float] = []
    assert http.ask(sender(answer(503), answer(502)), tries=2, sleep=waits.append).status_code == 502
    with pytest.raises(requests.Timeout):
        http.ask(sender(answer(503), requests.Timeout()), tries=2, sleep=waits.append)
    assert waits == [0.25, 0.25]


def test_an_answer_that_stays_is_not_asked_for_again():
    assert http.ask(sender(answer(404)), sleep=pytest.fail).status_code == 404
    with pytest.raises(requests.exceptions.InvalidURL):
        http.ask(sender(requests.exceptions.InvalidURL()), sleep=pytest.fail)


def test_who_waits_longer_than_a_second_is_told_for_whom(monkeypatch):
    """A registry that was gone once took ten silent seconds."""
    lines: list[str] = []
    monkeypatch.setattr(http, "say", lines.append)
    monkeypatch.setattr(http, "_TOLD", {})

    def fail(who: str, *faults: tuple[str, float]) -> None:
        """Let the first tries fail, each with what is asked for; waiting costs no time."""
        tries = http.Tries(who, 6, sleep=lambda _: None)
        for (why, asked), _ in zip(faults, tries, strict=False):
            tries.failed(why, asked=asked)

    fail("ghcr.io", ("ConnectionRefusedError", 0.0), ("", 0.0))
    assert lines == []
    fail("ghcr.io", ("no https://me:secret@ghcr.io/v2/?token=1 here", 1.0), ("", 0.0))
    assert lines == ["    ghcr.io: no https://ghcr.io/v2/ here; try 2 of 6 in 1.0 s"]
    # Sixteen downloads of one server wait at once.
    fail("ghcr.io", ("again", 8.0), ("", 0.0))
    assert len(lines) == 1
    fail("quay.io", ("503 Service Unavailable", 8.0), ("", 0.0))
    assert lines[1:] == ["    quay.io: 503 Service Unavailable; try 2 of 6 in 8.0 s"]


def test_of_several_addresses_the_longest_wait_counts_and_each_try_asks_anew():
    waits: list[float] = []
    tries = http.Tries("mirror", 4, sleep=waits.append)
    asked = iter([(3.0, 9.0), (0.0, 0.0), (0.0, 5.0), (60.0, 60.0)])
    lasts = []
    for last in tries:
        lasts.append(last)
        for seconds in next(asked):
            tries.failed("busy", asked=seconds)
    assert (lasts, waits) == ([False, False, False, True], [9.0, 0.5, 5.0])


def test_tries_that_get_further_are_counted_from_there():
    """A long upload over a bad line breaks often; only those count that brought nothing more."""
    waits: list[float] = []
    tries = http.Tries("ghcr.io", 2, sleep=waits.append)
    further, lasts = iter([False, True, True, False, False]), []
    for last in tries:
        lasts.append(last)
        tries.failed("it broke off", asked=3.0 if len(lasts) == 3 else 0.0)
        if next(further):
            tries.renew()
    assert lasts == [False, True, False, False, True]
    assert waits == [0.25, 0.25, 3.0, 0.25]
