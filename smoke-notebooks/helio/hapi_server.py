"""A small HAPI server on loopback, of the standard library alone, for tests of clients.

It serves any number of data sets held in memory: `about`, `capabilities`, `catalog`, `info` and `data` as CSV or
binary. Errors are HAPI's own codes. Spec: HAPI Data Access Specification 3.2.
"""

from __future__ import annotations

import datetime
import json
import re
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_VERSION = "3.2"
_ERRORS = {
    1400: "user input error", 1401: "unknown API parameter name", 1402: "error in start", 1403: "error in stop",
    1404: "start equal to or after stop", 1405: "time outside valid range", 1406: "unknown dataset id",
    1407: "unknown dataset parameter", 1409: "unsupported output format", 1410: "unsupported include value",
    1411: "out of order or duplicate parameters",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One data set.

    Attributes:
        parameters: HAPI's parameter objects without Time, in column order; ``size`` for vectors.
        times: ISO times, restricted form with ``Z``, all of one length, rising.
        columns: parameter name -> one value (or one sequence of values) a record.
        cadence: ISO 8601 duration.
    """

    title: str
    parameters: Sequence[Mapping[str, object]]
    times: Sequence[str]
    columns: Mapping[str, Sequence]
    cadence: str


class _Error(Exception):
    def __init__(self, code: int, detail: str = "") -> None:
        self.code, self.detail = code, detail


class HapiServer:
    """Serve data sets at `url` until the ``with`` block ends; `requests` holds the paths asked for."""

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append(self.path)
                try:
                    status, kind, body = 200, *_answer(datasets, self.path)
                except _Error as error:
                    message = f"HAPI error {error.code}: {_ERRORS[error.code]}"
                    message += f" {error.detail}" if error.detail else ""
                    status, kind = 404 if error.code in (1406, 1407) else 400, "application/json"
                    body = _json({}, error.code, message)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Access-Control-Allow-Origin", "*")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hapi"

    def __enter__(self) -> HapiServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _json(document: Mapping[str, object], code: int = 1200, message: str = "OK") -> bytes:
    return json.dumps({"HAPI": _VERSION, "status": {"code": code, "message": message}, **document}).encode()


def _answer(datasets: Mapping[str, Dataset], path: str) -> tuple[str, bytes]:
    parts = urlsplit(path)
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    # Names of HAPI 2 still work, as the specification asks.
    for old, new in (("id", "dataset"), ("time.min", "start"), ("time.max", "stop")):
        if old in query:
            query[new] = query.pop(old)
    match parts.path.removeprefix("/hapi/").strip("/"):
        case "about":
            about = {"id": "made", "title": "Made data", "contact": "nobody"}
            return "application/json", _json(about)
        case "capabilities":
            return "application/json", _json({"outputFormats": ["csv", "binary"]})
        case "catalog":
            return "application/json", _json({"catalog": [{"id": k, "title": v.title} for k, v in datasets.items()]})
        case "info":
            _only(query, {"dataset", "parameters"})
            _name, dataset = _dataset(datasets, query)
            return "application/json", _json(_info(dataset, _chosen(dataset, query)))
        case "data":
            _only(query, {"dataset", "parameters", "start", "stop", "format", "include"})
            return _data(datasets, query)
        case _:
            raise _Error(1400, f"no endpoint `{parts.path}`")


def _only(query: Mapping[str, str], known: set[str]) -> None:
    if unknown := set(query) - known:
        raise _Error(1401, f"`{min(unknown)}`")


def _dataset(datasets: Mapping[str, Dataset], query: Mapping[str, str]) -> tuple[str, Dataset]:
    name = query.get("dataset", "")
    if name not in datasets:
        raise _Error(1406, f"`{name}`")
    return name, datasets[name]


def _chosen(dataset: Dataset, query: Mapping[str, str]) -> list[Mapping[str, object]]:
    known = {"Time": None} | {str(p["name"]): p for p in dataset.parameters}
    asked = query["parameters"].split(",") if query.get("parameters") else list(known)
    for name in asked:
        if name not in known:
            raise _Error(1407, f"`{name}`")
    if [name for name in known if name in asked] != asked:
        raise _Error(1411)
    return [parameter for name in asked if (parameter := known[name]) is not None]


def _info(dataset: Dataset, chosen: Sequence[Mapping[str, object]]) -> dict[str, object]:
    time = {"name": "Time", "type": "isotime", "units": "UTC", "fill": None, "length": len(dataset.times[0])}
    return {
        "startDate": dataset.times[0], "stopDate": dataset.times[-1], "cadence": dataset.cadence,
        "description": dataset.title, "parameters": [time, *chosen],
    }  # fmt: skip


def _moment(text: str, code: int) -> datetime.datetime:
    # Year-month-day or year-day, cut anywhere.
    match = re.fullmatch(
        r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?|-(\d{3}))?(?:T(\d{2})(?::(\d{2})(?::(\d{2})(\.\d*)?)?)?)?Z?", text
    )
    if match is None:
        raise _Error(code, f"`{text}`")
    year, month, day, doy, hour, minute, second, fraction = match.groups()
    try:
        date = datetime.datetime(int(year), int(month or 1), int(day or 1), tzinfo=datetime.UTC)
        return date + datetime.timedelta(
            days=int(doy or 1) - 1, hours=int(hour or 0), minutes=int(minute or 0),
            seconds=int(second or 0) + float("0" + (fraction or ".0")),
        )  # fmt: skip
    except ValueError as error:
        raise _Error(code, f"`{text}`") from error


def _data(datasets: Mapping[str, Dataset], query: Mapping[str, str]) -> tuple[str, bytes]:
    _, dataset = _dataset(datasets, query)
    chosen = _chosen(dataset, query)
    start, stop = _moment(query.get("start", ""), 1402), _moment(query.get("stop", ""), 1403)
    if start >= stop:
        raise _Error(1404)
    if stop <= _moment(dataset.times[0], 1405) or start > _moment(dataset.times[-1], 1405):
        raise _Error(1405)
    form = query.get("format", "csv")
    if form not in ("csv", "binary"):
        raise _Error(1409, f"`{form}`")
    if query.get("include", "header") != "header":
        raise _Error(1410)
    header = b""
    if "include" in query:
        text = _json({**_info(dataset, chosen), "format": form}).decode()
        header = b"#" + text.encode() + b"\n"
    records = [i for i, time in enumerate(dataset.times) if start <= _moment(time, 1405) < stop]
    if form == "csv":
        rows = (",".join([dataset.times[i], *_texts(dataset, chosen, i)]) for i in records)
        return "text/csv", header + "".join(row + "\n" for row in rows).encode()
    # Little-endian, packed; isotime as ASCII of its length.
    kinds = {"double": "d", "integer": "i"}
    layout = "<" + f"{len(dataset.times[0])}s"
    layout += "".join(f"{_count(p)}{kinds[str(p['type'])]}" for p in chosen)
    packed = (
        struct.pack(layout, dataset.times[i].encode(), *(v for p in chosen for v in _values(dataset, p, i)))
        for i in records
    )
    return "application/octet-stream", header + b"".join(packed)


def _count(parameter: Mapping[str, object]) -> int:
    count = 1
    for n in parameter.get("size", ()):  # type: ignore[union-attr]
        count *= n
    return count


def _values(dataset: Dataset, parameter: Mapping[str, object], record: int) -> list:
    value = dataset.columns[str(parameter["name"])][record]
    plain = int if parameter["type"] == "integer" else float
    return [plain(v) for v in value] if "size" in parameter else [plain(value)]


def _texts(dataset: Dataset, chosen: Sequence[Mapping[str, object]], record: int) -> list[str]:
    return [repr(value) for parameter in chosen for value in _values(dataset, parameter, record)]
