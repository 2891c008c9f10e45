"""A HelioCloud file registry on this machine: a real S3 protocol server with `catalog.json`, index files and objects.

Format: HelioCloud's shared cloud registry specification, 0.5 (columns start, stop, datakey, filesize; one index
a year).
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import boto3
import numpy as np

BUCKET = "local-helio-registry"


def start_server(log: str = "s3.log") -> tuple[subprocess.Popen, str]:
    """Start an S3 server of its own process on a free loopback port; return it and its endpoint.

    Raises:
        RuntimeError: it did not answer within a minute.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(log, "w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    endpoint = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=1).close()
            return server, endpoint
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    server.kill()
    raise RuntimeError(f"the S3 server did not start; see {log}")


def publish(dataset: str, files: Iterable, start: str, stop: str, step_s: float) -> dict[str, object]:
    """Upload made files and the registry that lists them; return key -> made file.

    The index also lists the day before and the day after, whose objects do not exist: reading only what the dates ask
    for is part of the test.

    Args:
        files: as `made_aia.series` yields them; each is let go of as soon as it is uploaded.
        step_s: seconds between files.
    """
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    truth: dict[str, object] = {}
    rows: list[tuple[str, str, int]] = []
    sizes = []

    def upload(key: str, raw: bytes) -> None:
        s3.put_object(
            Bucket=BUCKET, Key=key, Body=raw, ACL="public-read"
        )  # readers are anonymous, as with the public bucket

    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for made in files:
            key = _key(dataset, made.time)
            waiting.append(pool.submit(upload, key, made.raw))
            if len(waiting) > 4:
                waiting.pop(0).result()
            sizes.append(len(made.raw))
            rows.append((made.time, key, len(made.raw)))
            truth[f"s3://{BUCKET}/{key}"] = made
        for one in waiting:
            one.result()
    step = np.timedelta64(round(step_s * 1000), "ms")
    day = int(86400 / step_s)
    outside = [np.datetime64(start, "ms") - step * i for i in range(1, day + 1)]
    outside += [np.datetime64(stop, "ms") + step * i for i in range(day)]
    rows += [(str(time), _key(dataset, str(time)), 13_910_400) for time in outside]
    rows.sort()
    prefix = f"registry/{dataset}/"
    for year in sorted({row[0][:4] for row in rows}):
        lines = ["start,stop,datakey,filesize"]
        for begin, key, size in rows:
            if begin.startswith(year):
                end = str(np.datetime64(begin, "ms") + step)
                lines.append(f"{begin}Z,{end}Z,s3://{BUCKET}/{key},{size}")
        upload(f"{prefix}{dataset}_{year}.csv", ("\n".join(lines) + "\n").encode())
    entry = {
        "id": dataset, "index": f"s3://{BUCKET}/{prefix}", "title": "SDO/AIA level 1.5 images, made",
        "start": rows[0][0] + "Z",
        "stop": str(np.datetime64(rows[-1][0], "ms") + step) + "Z", "modification": rows[-1][0] + "Z",
        "indextype": "csv", "filetype": "fits",
        "description": "Synthetic images of the true size whose mean irradiance is known.",
    }  # fmt: skip
    catalog = {
        "Cloudy": "0.5", "endpoint": f"s3://{BUCKET}/", "name": "made", "region": "us-east-1", "egress": "no-egress",
        "status": {"code": 1200, "message": "OK"}, "contact": "nobody", "description": "a registry for tests",
        "citation": "none", "catalog": [entry],
    }  # fmt: skip
    upload("catalog.json", json.dumps(catalog).encode())
    return truth


def _key(dataset: str, time: str) -> str:
    stamp = time[:19].replace("-", "").replace(":", "")
    wave = dataset.rsplit("_", 1)[-1].lstrip("0")
    return f"sdo/aia/{stamp[:8]}/{wave}/sdo_aia_h2_{stamp}_{wave}_v1.fits"
