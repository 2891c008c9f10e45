"""Made AIA level-1.5 images: true size and structure, and a mean that is known exactly.

A synthetic corona at 193 Å (disc, limb, active regions, photon noise) flares during the series. Compressing 4096 × 4096
pixels for each file would take most of the time, and RICE codes every row on its own. So the quiet Sun is compressed
twice, with different noise; every file takes each row from one or the other by chance, and has its own flaring rows.
All files differ, each is what astropy would have written, and its sum is the sum of its rows' integers before
compression.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

SIZE = 4096
SCALE = 0.6  # arcsec a pixel, as level 1.5
RADIUS = 975.3  # arcsec, around New Year
FLARE_ROWS = slice(2200, 2520)
NPIX = SIZE * SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFile:
    """One file and the truth about it: `irradiance` is DN/s a pixel, from the integers before compression."""

    time: str
    raw: bytes
    exposure: float
    quality: int
    pixel_sum: int
    irradiance: float


def series(start: str, stop: str, count: int, seed: int = 193) -> Iterator[MadeFile]:
    """Yield `count` files, evenly spaced from `start` to before `stop` (ISO times), a flare in the middle.

    Automatic exposure shortens the flare's exposures, as AIA does. One file of twelve has a bad QUALITY.
    """
    rng = np.random.default_rng(seed)
    quiet = _corona(slice(0, SIZE))
    rows = np.concatenate([_photons(quiet, rng), _photons(quiet, rng)])
    phase = np.arange(count) / max(count, 1)
    peaks = ((0.13, 0.07), (0.28, 0.04), (0.4, 1.0), (0.72, 0.1))  # when, in parts of the series; how strong
    light = sum(
        strength * np.exp(np.where(phase < at, -(((phase - at) / 0.02) ** 2), -(phase - at) / 0.09))
        for at, strength in peaks
    )
    # DN, not DN/s: full exposure (2 s) counts, then less under automatic exposure.
    exposures = np.where(light > 0.3, 0.250, 2.000) + rng.integers(-3, 4, count) * 1e-6
    flares = np.concatenate(
        [
            _photons((_corona(FLARE_ROWS) + strength * _flare(FLARE_ROWS)) * (exposure / 2.0), rng)
            for strength, exposure in zip(light, exposures, strict=True)
        ]
    )
    whole_heap, whole_sums = _compress(rows)
    short_heap, short_sums = _compress(_photons(quiet / 8, rng))
    flare_heap, flare_sums = _compress(flares)
    band, height = np.arange(SIZE)[FLARE_ROWS], FLARE_ROWS.stop - FLARE_ROWS.start
    first = np.datetime64(start, "ms")
    step = (np.datetime64(stop, "ms") - first) / count
    for index in range(count):
        if exposures[index] < 1:
            tiles, sums = list(short_heap), short_sums.copy()
        else:
            chosen = np.arange(SIZE) + SIZE * rng.integers(0, 2, SIZE)
            tiles, sums = [whole_heap[i] for i in chosen], whole_sums[chosen]
        tiles[FLARE_ROWS] = flare_heap[index * height : (index + 1) * height]
        sums[band] = flare_sums[index * height : (index + 1) * height]
        time = str(first + index * step)
        exposure, quality = float(exposures[index]), 0 if index % 12 != 4 else 0x40000000
        total = int(sums.sum())
        header = _header(time, exposure, quality, total / NPIX)
        yield MadeFile(
            time=time, raw=_file(tiles, header), exposure=exposure, quality=quality, pixel_sum=total,
            irradiance=total / NPIX / exposure,
        )  # fmt: skip


def _distance(rows: slice) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[rows, 0:SIZE].astype(np.float32) - np.float32((SIZE - 1) / 2)
    return x, y


def _corona(rows: slice) -> np.ndarray:
    x, y = _distance(rows)
    r = np.hypot(x, y) * np.float32(SCALE / RADIUS)
    disc = np.where(r < 1, 230 + 170 * r**6, 400 * np.exp((1 - r) * 8) + 3)
    for cx, cy, width, height in (
        (-700, 520, 150, 900),
        (420, -460, 200, 700),
        (900, 330, 110, 1200),
        (-260, -700, 90, 500),
    ):
        disc += height * np.exp(-((x - cx) ** 2 + (1.6 * (y - cy)) ** 2) / (2 * width**2))
    for cx, cy, width in ((100, 1150, 330), (-50, -1250, 260)):  # coronal holes
        disc *= 1 - 0.75 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    return disc.astype(np.float32)


def _flare(rows: slice) -> np.ndarray:
    x, y = _distance(rows)
    core = np.exp(-(((x + 1390) / 60) ** 2 + ((y - 312) / 45) ** 2) / 2)
    return (60000 * core + 12000 * np.exp(-((x + 1390) ** 2 / 260**2 + (y - 312) ** 2 / 9**2) / 2)).astype(np.float32)


def _photons(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(counts.shape, dtype=np.float32) * np.sqrt(1.65 * counts + 2.5, dtype=np.float32)
    return np.clip(np.rint(counts + noise), -100, 16383).astype(np.int16)


def _compress(rows: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """Return each row's RICE code, as astropy writes it, and each row's integer sum."""
    image = io.BytesIO()
    hdu = fits.CompImageHDU(rows, compression_type="RICE_1", tile_shape=(1, SIZE))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(image)
    raw = image.getvalue()
    with fits.open(io.BytesIO(raw), disable_image_compression=True) as files:
        at = files[1].fileinfo()["datLoc"]
    table = np.frombuffer(raw, ">i4", 2 * len(rows), at).reshape(-1, 2)
    heap = at + table.nbytes
    return [raw[heap + start : heap + start + length] for length, start in table.tolist()], rows.sum(
        axis=1, dtype=np.int64
    )


def _file(tiles: list[bytes], header: fits.Header) -> bytes:
    lengths = np.array([len(tile) for tile in tiles])
    descriptors = np.stack([lengths, np.cumsum(lengths) - lengths], axis=1).astype(">i4").tobytes()
    table = fits.Header([
        ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 8), ("NAXIS2", SIZE),
        ("PCOUNT", int(lengths.sum())), ("GCOUNT", 1), ("TFIELDS", 1), ("TTYPE1", "COMPRESSED_DATA"),
        ("TFORM1", f"1PB({lengths.max()})"), ("ZIMAGE", True), ("ZBITPIX", 16), ("ZNAXIS", 2), ("ZNAXIS1", SIZE),
        ("ZNAXIS2", SIZE), ("ZTILE1", SIZE), ("ZTILE2", 1), ("ZCMPTYPE", "RICE_1"), ("ZNAME1", "BLOCKSIZE"),
        ("ZVAL1", 32), ("ZNAME2", "BYTEPIX"), ("ZVAL2", 2), *header.cards,
    ])  # fmt: skip
    primary = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    data = b"".join([descriptors, *tiles])
    return b"".join([primary.tostring().encode(), table.tostring().encode(), data, bytes(-len(data) % 2880)])


def _header(time: str, exposure: float, quality: int, mean: float) -> fits.Header:
    centre = (SIZE + 1) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        return fits.Header([
            ("TELESCOP", "SDO/AIA"), ("INSTRUME", "AIA_2"), ("ORIGIN", "made for a test"),
            ("LVL_NUM", 1.5), ("DATE-OBS", time, "start of the exposure"),
            ("T_OBS", time + "Z", "middle of the exposure"), ("WAVELNTH", 193),
            ("WAVEUNIT", "angstrom"), ("EXPTIME", exposure, "s"), ("EXPSDEV", 0.000163),
            ("BUNIT", "DN"), ("QUALITY", quality), ("DATAMEAN", mean), ("AECTYPE", int(exposure < 1)),
            ("CTYPE1", "HPLN-TAN"), ("CTYPE2", "HPLT-TAN"), ("CUNIT1", "arcsec"), ("CUNIT2", "arcsec"),
            ("CRPIX1", centre), ("CRPIX2", centre), ("CRVAL1", 0.0), ("CRVAL2", 0.0), ("CDELT1", SCALE),
            ("CDELT2", SCALE), ("CROTA2", 0.0), ("R_SUN", RADIUS / SCALE), ("RSUN_OBS", RADIUS), ("RSUN_REF", 6.96e8),
            ("DSUN_OBS", 1.4710e11), ("HGLN_OBS", 0.0), ("HGLT_OBS", -3.0),
        ])  # fmt: skip
