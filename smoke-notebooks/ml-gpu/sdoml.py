"""Stores in the form of SDOML v2, made and served by a real S3 server on this machine, and read in blocks for PyTorch.

SDOML v2 is one zarr (format 2) store an instrument: groups are years, arrays are channels of 512 x 512 float32 images
in chunks along time, and FITS keywords are attributes, one list a keyword. Images are not sorted by time, and channels
lack different ones.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import dask
import numpy as np
import torch
import zarr
from numcodecs import Blosc
from torch.utils.data import IterableDataset, get_worker_info

SIDE, RADIUS, CHUNK = 512, 203.0, 15
AIA, HMI = "s3://sdoml/fdl-sdoml-v2/sdomlv2.zarr", "s3://sdoml/fdl-sdoml-v2/sdomlv2_hmi.zarr"
CHANNELS = {"171A": AIA, "193A": AIA, "Bz": HMI}


def start_server(log: str = "s3.log") -> tuple[subprocess.Popen, str]:
    """Start an S3 server of its own process on a free loopback port; return it and its endpoint.

    Raises:
        RuntimeError: it did not answer within a minute.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(log, "w") as out:
        server = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
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


def make(
    years: tuple[int, ...], images: int, options: dict[str, object]
) -> dict[tuple[int, str], tuple[float, float, int]]:
    """Write both stores.

    Args:
        images: how many times a year; a channel lacks a few of them.
        options: s3fs's.

    Returns:
        (year, channel) -> mean, standard deviation and number of its images, in float64.
    """
    groups = {url: zarr.open_group(url, mode="w", zarr_format=2, storage_options=options) for url in (AIA, HMI)}
    truth = {}
    for year in years:
        # Days were processed in parallel: they come in any order, the images of a day one after another.
        days = np.random.default_rng(year).permutation(-(-images // 6))
        order = (days[:, None] * 6 + np.arange(6)).ravel()
        order = order[order < images]
        for number, (channel, url) in enumerate(CHANNELS.items()):
            rng = np.random.default_rng([year, number])
            kept = order[rng.random(images) > 0.06]
            data = np.stack([_image(year, int(k), channel, rng) for k in kept])
            array = groups[url].create_array(
                f"{year}/{channel}",
                shape=data.shape,
                chunks=(CHUNK, SIDE, SIDE),
                dtype="f4",
                compressors=Blosc(cname="zstd", clevel=5, shuffle=Blosc.BITSHUFFLE),
            )
            array[:] = data
            array.attrs.update(_keywords(year, kept, channel))
            truth[year, channel] = float(data.mean(dtype="f8")), float(data.std(dtype="f8")), len(kept)
    return truth


def _image(year: int, k: int, channel: str, rng: np.random.Generator) -> np.ndarray:
    # The regions of a moment are the same in every channel; noise is not.
    places = np.random.default_rng([year, k // 6])
    grid = (np.arange(SIDE, dtype="f4") - (SIDE - 1) / 2) / np.float32(RADIUS)
    x, y = grid[None, :], grid[:, None]
    r2 = x**2 + y**2
    field = np.zeros((SIDE, SIDE), "f4")
    for _ in range(5):
        longitude, latitude = places.uniform(-0.8, 0.6), places.uniform(-0.5, 0.5)
        strength, width = places.uniform(150, 500) * np.sign(latitude), places.uniform(0.03, 0.06)
        # A turn in 27 days, six images of 4 h a day.
        middle = np.sin(longitude + 2 * np.pi * (k % 6) / 6 / 27) * np.cos(latitude)
        for side in (-1, 1):
            gaussian = np.exp(-((x - middle - side * 0.05) ** 2) / (2 * width**2)) * np.exp(
                -((y - np.sin(latitude)) ** 2) / (2 * width**2)
            )
            field += np.float32(side * strength) * gaussian.astype("f4")
    disc = r2 < 1
    if channel == "Bz":
        return np.where(disc, field + rng.normal(0, 8, field.shape), 0).astype("f4")
    quiet, gain, height = {"171A": (180, 2.0, 0.08), "193A": (220, 4.0, 0.12)}[channel]
    corona = np.where(disc, 1 / np.sqrt(np.maximum(1 - r2, 0.04)), 5 * np.exp(-(np.sqrt(r2) - 1) / height))
    counts = quiet * (0.3 + 0.2 * corona) + gain * np.abs(field)
    return (counts + np.sqrt(counts) * rng.normal(size=counts.shape)).astype("f4")


def _keywords(year: int, kept: np.ndarray, channel: str) -> dict[str, list]:
    # HMI's times are TAI, written with points; AIA's are UTC. An image takes place a little after its slot.
    times = [np.datetime64(f"{year}-03-01T00:00:00") + np.timedelta64(4 * int(k), "h") for k in kept]
    if channel == "Bz":
        tai = [str(t + np.timedelta64(34 + 20, "s")) for t in times]
        return {"T_OBS": [t.replace("-", ".").replace("T", "_") + "_TAI" for t in tai], "BUNIT": ["Gauss"] * len(tai)}
    late = {"171A": 11, "193A": 6}[channel]
    return {
        "T_OBS": [f"{t + np.timedelta64(late, 's')}.34Z" for t in times],
        "WAVELNTH": [int(channel[:-1])] * len(times),
        "EXPTIME": [2.0] * len(times),
    }


def quiet(worker: int) -> None:
    """Start a loader worker that does not complain, at its end, of connections that s3fs leaves to the system."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


class Blocks(IterableDataset):
    """Samples from Dask arrays that are chunked alike along their first axis, a block at a time.

    Each epoch has another order of the blocks, and of the samples within a block: a block is read once, where a random
    order of images would read a whole chunk of the store for each image. Loader workers share the blocks. They must be
    spawned, not forked: s3fs keeps a thread and connections that a fork does not take along.
    """

    def __init__(self, *arrays: dask.array.Array, seed: int = 0) -> None:
        self.arrays, self.seed, self.epoch = arrays, seed, 0

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        for block in rng.permutation(self.arrays[0].numblocks[0])[first::step]:
            got = dask.compute(*(array.blocks[block] for array in self.arrays), scheduler="threads", num_workers=2)
            for i in rng.permutation(len(got[0])):
                yield tuple(torch.as_tensor(np.array(one[i])) for one in got)
