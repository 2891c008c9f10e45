"""What all HTTP of ours agrees on: when to ask again and how long to wait before, and which bytes are the file's."""

from __future__ import annotations

import email.utils
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import requests
import urllib3

from .progress import say

#: Answers that another try may change. Spec: RFC 9110, section 15; RFC 6585 (429); RFC 8470 (425).
AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
#: What a bad line gives.
DROPPED = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
#: Tries of one question, the first one among them.
TRIES = 4
_LONGEST_S = 8.0
#: Seconds for which nobody wonders.
_QUIET_S = 1.0
#: Who was waited for, and when that was told.
_TOLD: dict[str, float] = {}
_TELLING = threading.Lock()
#: More than this no server may ask: nobody waits for an hour before a terminal.
_LONGEST_ASKED_S = 60.0


def untrusted(error: BaseException) -> bool:
    """Say whether a request failed because the server's certificate is not believed, which no other try changes."""
    return isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def reason(error: BaseException) -> str:
    """Return why a request failed, without its address, which may hold a login.

    >>> reason(requests.ConnectTimeout("https://me:secret@host/"))
    'ConnectTimeout'
    """
    if untrusted(error):
        return "its certificate is of an authority that is not believed here; SSL_CERT_FILE names those that are"
    return type(error).__name__


def pause_s(attempt: int, asked: float = 0.0, *, first: float = 0.25) -> float:
    """Return the seconds to wait after a failed try: twice as long each time, and as long as the server asks.

    Args:
        attempt: how many tries failed before this one, 0 after the first.
        asked: what `retry_after` says of the answer.
        first: seconds after the first try.

    >>> [pause_s(attempt) for attempt in (0, 1, 9)], pause_s(0, 5.0), pause_s(0, 3600.0)
    ([0.25, 0.5, 8.0], 5.0, 60.0)
    """
    return min(max(min(first * 2.0 ** min(attempt, 30), _LONGEST_S), asked), _LONGEST_ASKED_S)


def retry_after(response: requests.Response) -> float:
    """Return the seconds a server asks for, as a number or a date; 0 when it does not.

    Spec: RFC 9110 section 10.2.3.
    """
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


class Tries:
    """The tries of one question, the one policy of all HTTP of ours: how many, how long between them, and what is told.

    Walked over, it yields before each try whether that is the last. Who comes back for another one failed, and said so
    by `failed`; it waits before the next, as long as the server asked, and once the tries have lasted a second, whoever
    waits is told what for. Where a try got further than those before it, `renew` says so: they are counted from there.

    Args:
        who: is asked, e.g. a host.
        number: of tries, the first one among them.
        first: seconds after the first try.
        sleep: waits so many seconds; tests replace it, and who may be stopped is woken by it.
    """

    def __init__(
        self,
        who: str,
        number: int = TRIES,
        *,
        first: float = 0.25,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.who, self.number, self.why = who, number, ""
        self._first, self._sleep, self._asked = first, time.sleep if sleep is None else sleep, 0.0
        self._start, self._tried = time.monotonic(), 0

    def __iter__(self) -> Iterator[bool]:
        self._tried = 0
        while self._tried < self.number:
            self._asked, self._tried = 0.0, self._tried + 1
            yield self._tried == self.number
            if self._tried < self.number:
                seconds = pause_s(max(self._tried - 1, 0), self._asked, first=self._first)
                self._tell(self._tried, seconds)
                self._sleep(seconds)

    def renew(self) -> None:
        """Count from here: the try that is under way failed, but got further, as those of a long upload do."""
        self._tried = 0

    def failed(self, why: str, answer: requests.Response | None = None, *, asked: float = 0.0) -> None:
        """Take note that the try that is under way failed; of several addresses the longest wait counts.

        Args:
            why: for people.
            answer: of the server, if it gave one: its ``Retry-After`` is heeded.
            asked: seconds that the server asks for, where the answer is gone.
        """
        self.why = why
        self._asked = max(self._asked, asked, retry_after(answer) if answer is not None else 0.0)

    def _tell(self, failed: int, seconds: float) -> None:
        """Say that a try failed, and when the next one comes; one line a second, whoever else asks the same."""
        now = time.monotonic()
        if now + seconds - self._start < _QUIET_S:
            return
        with _TELLING:
            if now < _TOLD.get(self.who, 0.0) + _QUIET_S:
                return
            _TOLD[self.who] = now
        say(f"    {self.who}: {without_login(self.why)}; try {failed + 1} of {self.number} in {seconds:.1f} s")


def ask(
    send: Callable[[], requests.Response],
    *,
    tries: int = TRIES,
    first: float = 0.25,
    sleep: Callable[[float], None] | None = None,
) -> requests.Response:
    """Send a request until its answer is one that another try would not change, and return that or the last one.

    Args:
        send: sends it once; the answer may be a stream.
        sleep: waits so many seconds; tests replace it.

    Raises:
        requests.RequestException: the last try got no answer.
    """
    policy = Tries("the server", tries, first=first, sleep=sleep)
    for last in policy:
        try:
            response = send()
        except DROPPED as error:
            if last or untrusted(error):
                raise
            url = error.request.url if error.request is not None else None
            policy.failed(type(error).__name__)
        else:
            if last or response.status_code not in AGAIN:
                return response
            url = response.url
            policy.failed(f"{response.status_code} {response.reason}", response)
            response.close()
        policy.who = urlsplit(str(url or "")).hostname or "the server"
    raise RuntimeError("unreachable")


def stored(response: requests.Response, size: int | None, piece: int) -> Iterator[bytes]:
    """Yield the bytes of a file as they are stored, in pieces of at most about ``piece`` bytes.

    Many servers send a ``.tar.gz`` with ``Content-Encoding: gzip``, as if its content were what is asked for; digests
    and sizes are of the file. Only where the length that was announced is not the file's has a proxy squeezed it on the
    way, though nobody asked it to.

    Args:
        response: asked for with ``stream=True`` and ``Accept-Encoding: identity``.
        size: of the file, None where it is not known.

    Raises:
        requests.RequestException: the connection drops.
    """
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    length = response.headers.get("Content-Length", "")
    squeezed = coding in ("gzip", "x-gzip", "deflate") and response.status_code == 200
    squeezed = squeezed and size is not None and length.isdigit() and int(length) != size
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32) if squeezed else None
    try:
        for data in response.raw.stream(piece, decode_content=False):
            if decoder is None:
                yield data
                continue
            while data:
                # A few bytes may be gigabytes when they are unpacked.
                yield decoder.decompress(data, piece)
                data = decoder.unconsumed_tail
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    except zlib.error as error:
        raise requests.exceptions.ContentDecodingError(error) from error


def without_login(text: str) -> str:
    """Return an address, or a text with addresses in it, without users, passwords, conda's tokens and queries.

    >>> without_login("cannot get https://me:secret@host/t/tk-1/x/linux-64/repodata.json?sig=2: 401")
    'cannot get https://host/x/linux-64/repodata.json: 401'
    """
    text = re.sub(r"(?<=://)[^/\s@]*@", "", text)
    text = re.sub(r"(://[^\s?]*?)/t/[^/\s]+", r"\1", text)
    return re.sub(r"(://[^\s?\"')]*)\?[^\s:\"')]*", r"\1", text)
