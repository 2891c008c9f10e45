"""Errors say the same each time: no text of a library brings an object's place in memory into them."""

from __future__ import annotations

import pickle
import re
import socket

import pytest
import requests
import urllib3

from helioimages.core.errors import HelioError, Stage, without_addresses


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (
            "<urllib3.connection.HTTPConnection object at 0x7f1e0c0ffee0>: refused",
            "urllib3.connection.HTTPConnection: refused",
        ),
        ("<HTTPSConnection(host='h', port=443) at 0x7fc9458914d0>", "HTTPSConnection(host='h', port=443)"),
        ("bad source <a.B object at 0xABCDEF> and <c at 0x1>", "bad source a.B and c"),
        ("<function f at 0x7f00>", "function f"),
        ("<bound method A.b of <c.A object at 0x7f00>>", "<bound method A.b of c.A>"),
        ("a < b at 0x10 > c", "a < b at 0x10 > c"),
        ("the byte at 0x1f, <none>", "the byte at 0x1f, <none>"),
    ],
)
def test_places_in_memory_are_left_out(text, plain):
    assert without_addresses(text) == plain


def test_what_urllib3_says_of_a_host_that_does_not_answer():
    pool = urllib3.HTTPSConnectionPool("index.example")
    connection = urllib3.connection.HTTPSConnection("index.example")
    reason = urllib3.exceptions.ConnectTimeoutError(connection, "timed out")
    error = requests.ConnectTimeout(urllib3.exceptions.MaxRetryError(pool, "/simple/", reason))
    error_told = HelioError(Stage.FETCH, f"no answer: {reason!r}", detail=str(error), hint="wait")
    assert re.search(r"0x[0-9a-f]+", str(error)), "else this test shows nothing"
    assert not re.search(r"0x[0-9a-f]+", str(error_told) + repr(error_told) + str(error_told.args))
    assert "timed out" in error_told.detail and "index.example" in error_told.detail
    assert str(pickle.loads(pickle.dumps(error_told))) == str(error_told)


def test_a_refused_connection_reads_well():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(requests.ConnectionError) as caught:
            requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    assert "0x" not in str(HelioError(Stage.FETCH, "x", detail=str(caught.value)))
