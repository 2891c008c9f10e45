#!/usr/bin/env python3
"""A cold pull by the engines that nodes have: an image in layers, against the same files in one.

The peer is the image flattened: the files of all its layers in one layer, as a `RUN` that installs everything leaves
them, compressed by the same library at the same level. Both lie in a registry on loopback. Docker, podman and
containerd pull each of them into an empty store, in turns, as many times as ``--rounds`` says; who goes first
alternates, and the disk is brought up to date before each. What was pulled stays until an engine's last round: a file
system may be slow after many files were deleted (an ext4 without a journal passes over their inodes for minutes), and
whoever came next would pay for it.

`tar` is no engine: it unpacks the layers side by side, as many at once as there are processors, each into a folder of
its own, as an engine does that unpacks in parallel (containerd from 2.2, if told). So it says what that may give.

Besides seconds the processor seconds of the engine and of its helpers are told, of a cgroup of theirs where one can be
made (root): these say little of what else the machine does.

With ``--rate`` the registry sends no more than that, over all connections, as one across a network does. An engine
can unpack a layer while others come; one layer it can only unpack when all of it is there.

What lacks of Debian's docker.io, podman and containerd is installed. Each engine is started for this alone, in a folder
that is removed at the end. The image is built from the default store before, if need be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from helioimages.machine import bootstrap  # noqa: E402

bootstrap.ensure()

import docker as sdk  # noqa: E402
from processor import Used  # noqa: E402
from relay import Relay  # noqa: E402

from helioimages.core.entries import Entry, Kind  # noqa: E402
from helioimages.core.progress import say, step  # noqa: E402
from helioimages.engines import registry_server  # noqa: E402
from helioimages.engines.engine import Engine  # noqa: E402
from helioimages.locks.checkout import Checkout  # noqa: E402
from helioimages.machine import host, mounts, processes  # noqa: E402
from helioimages.machine.store import Store, default_root  # noqa: E402
from helioimages.make import images  # noqa: E402
from helioimages.make.building import Built  # noqa: E402
from helioimages.make.machine import Machine  # noqa: E402
from helioimages.oci.image import Addition, Settings, append  # noqa: E402
from helioimages.oci.layer import read_layer, write_layer  # noqa: E402
from helioimages.oci.registry import Registry  # noqa: E402
from helioimages.publish import push  # noqa: E402

ENGINES = ("docker", "podman", "containerd", "tar")
_PACKAGES = {"docker": ("docker.io", "dockerd"), "podman": ("podman",) * 2, "containerd": ("containerd",) * 2}
_READY_S = 60


def flattened(layers: Sequence[Path]) -> Iterator[Entry]:
    """Yield the files of an image, each as its uppermost layer has it.

    Args:
        layers: their files, lowest first.
    """
    seen: set[str] = set()
    for path in reversed(layers):
        mine: set[str] = set()
        for entry in read_layer(path):
            if entry.path in seen:
                continue
            mine.add(entry.path)
            if entry.kind is Kind.HARDLINK and entry.target not in mine:
                raise SystemExit(f"error: {entry.path} is a link to a file that another layer replaces")
            yield entry
        seen |= mine


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An image in the registry: its reference by digest, its bytes there, and the files of its layers."""

    reference: str
    size: int
    layers: tuple[Path, ...]


def one_layer(built: Built, layers: Sequence[Path], own: Store, client: Registry, jobs: int) -> Side:
    """Push the image flattened.

    Args:
        layers: the files of its layers, lowest first.
        own: gets the one layer.
    """
    with step("one layer of all"), own.writing(lambda: own.blob(layer.digest)) as file:
        layer = write_layer(flattened(layers), file, jobs=jobs)
    config = built.image.config
    settings = Settings(env=dict(variable.partition("=")[::2] for variable in config.env), user="1000", working_dir="/")
    image = append(
        None,
        [Addition(layer=layer, created_by="RUN everything", comment="")],
        settings,
        platform=built.plan.platform,
        created_epoch=built.locks.epoch,
    )
    reference = push.push_untagged(client, image, f"flat/{built.spec.name}", own).reference
    return Side(reference=reference, size=layer.size, layers=(own.blob(layer.digest),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Puller:
    """An engine with an empty store, and how it pulls an image."""

    version: str
    pull: Callable[[Side], object]


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(argv)}\n{done.stderr[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def served(used: Used, argv: Sequence[str], folder: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """Run a daemon in the block, from when it is ready."""
    log = folder / "log"
    with open(log, "wb") as stream:
        daemon = subprocess.Popen(used.argv(argv), stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _READY_S
        while not ready():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"error: {argv[0]} does not start\n{log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        processes.end([processes.find(argv[0], daemon.pid)], seconds=_READY_S)
        daemon.wait()


@contextlib.contextmanager
def docker(folder: Path, used: Used) -> Iterator[Puller]:
    """Give a dockerd of its own."""
    at = f"unix://{folder / 's'}"
    argv = [host.dockerd() or "dockerd", f"--host={at}", f"--data-root={folder / 'data'}"]
    # Not `--bridge=none`: such a dockerd deletes docker0, which is that of the engine beside it.
    argv += [f"--exec-root={folder / 'x'}", f"--pidfile={folder / 'pid'}", "--iptables=false"]

    def ready() -> bool:
        with contextlib.suppress(sdk.errors.DockerException):
            return bool(sdk.DockerClient(base_url=at).ping())
        return False

    with served(used, argv, folder, ready):
        client = sdk.DockerClient(base_url=at, timeout=3600)
        yield Puller(
            version=client.version()["Version"],
            pull=lambda side: Engine(client, at).pull(side.reference),
        )


@contextlib.contextmanager
def podman(folder: Path, used: Used) -> Iterator[Puller]:
    """Give podman with a store of its own."""
    argv = ["podman", f"--root={folder / 'data'}", f"--runroot={folder / 'run'}", "--storage-driver=overlay"]
    yield Puller(
        version=_run(["podman", "version", "--format", "{{.Client.Version}}"]).strip(),
        pull=lambda side: _run(used.argv([*argv, "pull", "--quiet", "--tls-verify=false", side.reference])),
    )


@contextlib.contextmanager
def containerd(folder: Path, used: Used) -> Iterator[Puller]:
    """Give a containerd of its own, asked by ctr."""
    config, at = folder / "config.toml", folder / "s"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    argv = ["containerd", f"--config={config}", f"--root={folder / 'data'}", f"--state={folder / 'run'}"]
    client = ["ctr", f"--address={at}"]

    def ready() -> bool:
        return subprocess.run([*client, "version"], capture_output=True).returncode == 0

    with served(used, [*argv, f"--address={at}"], folder, ready):
        yield Puller(
            version=_run(["containerd", "--version"]).split()[2],
            pull=lambda side: _run([*client, "images", "pull", "--plain-http", side.reference]),
        )


@contextlib.contextmanager
def tar(folder: Path, used: Used) -> Iterator[Puller]:
    """Give what unpacks layers side by side."""
    data = folder / "data"

    def unpack(side: Side) -> None:
        def layer(number: int, path: Path) -> None:
            (data / str(number)).mkdir(parents=True)
            _run(used.argv(["tar", "-C", str(data / str(number)), "-xzf", str(path)]))

        # The largest first: one that came last would be waited for.
        largest = sorted(side.layers, key=lambda path: -path.stat().st_size)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for future in [pool.submit(layer, number, path) for number, path in enumerate(largest)]:
                future.result()

    yield Puller(version=f"{os.cpu_count()} at once", pull=unpack)


def measured(engine: str, sides: dict[str, Side], folder: Path, rounds: int) -> dict[str, object]:
    """Return what pulls by one engine took, each into an empty store, in turns."""
    used = Used()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    started = {"docker": docker, "podman": podman, "containerd": containerd, "tar": tar}[engine]
    folder.mkdir()
    try:
        # Who goes first alternates.
        for at, name in enumerate(name for number in range(rounds) for name in [*sides][:: 1 if number % 2 else -1]):
            (own := folder / str(at)).mkdir()
            with started(own, used) as puller:
                os.sync()
                before, start = used.seconds, time.monotonic()
                with step(f"{engine} pulls {name}", always=True):
                    puller.pull(sides[name])
                seconds[name].append(time.monotonic() - start)
                if before is not None:
                    processor[name].append((used.seconds or 0) - before)
    finally:
        used.close()
        mounts.detach(folder)
        if not mounts.below(folder):
            shutil.rmtree(folder, ignore_errors=True)
    row: dict[str, object] = {"version": puller.version}
    for name in sides:
        row[name] = {
            "seconds": round(statistics.median(seconds[name]), 1),
            "all": [round(value, 1) for value in seconds[name]],
            "processor_s": round(statistics.median(processor[name]), 1) if processor[name] else None,
        }
    layers, flat = (statistics.median(seconds[name]) for name in ("layers", "one"))
    row["ratio"] = round(layers / flat, 2)
    if processor["one"]:
        row["processor_ratio"] = round(statistics.median(processor["layers"]) / statistics.median(processor["one"]), 2)
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="helio")
    parser.add_argument("--engine", dest="engines", action="append", choices=ENGINES, help="may be repeated; else all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, help="MB a second that the registry sends at most; else as loopback")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--work", type=Path, help="folder with room for all that an engine pulls (helio: 6 GB each)")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    # Ended politely, what was started here ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    engines = tuple(asked.engines or [engine for engine in ENGINES if engine != "tar" or not asked.rate])
    if asked.rate and "tar" in engines:
        parser.error("--rate: `tar` asks no registry")
    host.ensure()
    lacking = [_PACKAGES[engine][0] for engine in engines if engine != "tar" and not _there(engine)]
    if lacking:
        say(f"==> installing {', '.join(lacking)}")
        _run(host.command(lacking))
    result = measure(asked, engines)
    print(json.dumps(result, indent=2) if asked.json else table(result))


def _there(engine: str) -> bool:
    return bool(shutil.which(_PACKAGES[engine][1], path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"))


@contextlib.contextmanager
def at_rate(registry: str, rate: float | None) -> Iterator[str]:
    """Yield where a registry is reached that sends so many MB a second at most."""
    if not rate:
        yield registry
        return
    relay = Relay(int(registry.rpartition(":")[2]), rate=rate * 1e6)
    try:
        yield relay.host
    finally:
        relay.close()


def measure(asked: argparse.Namespace, engines: Sequence[str]) -> dict[str, object]:
    """Return the figures of both images by all engines."""
    store = Store(default_root())
    built = images.build(Checkout.of(ROOT), Machine(store=store, jobs=asked.jobs), (asked.image,))[asked.image]
    result: dict[str, object] = {
        "image": asked.image,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "rate_mb_s": asked.rate,
    }
    # A socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pull-", dir=asked.work or default_root()))
    server = registry_server.start(folder / "registry", port=5800)
    try:
        with Registry(server.host) as client, at_rate(server.host, asked.rate) as reached:
            pushed = push.push_untagged(client, built.image, f"layers/{asked.image}", store)
            layers = tuple(store.blob(layer.digest) for layer in built.image.layers)
            sides = {
                "layers": Side(reference=pushed.reference, size=built.image.size, layers=layers),
                "one": one_layer(built, layers, Store(folder / "store"), client, asked.jobs),
            }
            sides = {
                name: replace(side, reference=side.reference.replace(server.host, reached, 1))
                for name, side in sides.items()
            }
            result["bytes"] = {key: side.size for key, side in sides.items()}
            result["layers"] = len(layers)
            result["engines"] = {
                engine: measured(engine, sides, folder / engine[0], asked.rounds) for engine in engines
            }
    finally:
        registry_server.stop(folder / "registry")
        # Never through a mount that an engine left.
        if not mounts.below(folder):
            shutil.rmtree(folder)
    return result


def table(result: dict) -> str:
    """Return the figures for people."""
    sizes = {key: f"{size / 1e6:,.0f} MB" for key, size in result["bytes"].items()}
    rows = [f"{result['image']}: {result['layers']} layers, {sizes['layers']}; one layer, {sizes['one']}"]
    rows += [f"the registry sends {result['rate_mb_s']:g} MB/s at most"] if result["rate_mb_s"] else []
    rows.append("")
    rows.append(f"{'':<24}{'layers':>10}{'one':>10}{'ratio':>8}{'layers':>14}{'one':>12}{'ratio':>8}")
    for engine, row in result["engines"].items():
        line = f"{engine + ' ' + row['version']:<24.24}"
        line += "".join(f"{row[side]['seconds']:>8.1f} s" for side in ("layers", "one")) + f"{row['ratio']:>8.2f}"
        if "processor_ratio" in row:
            line += "".join(f"{row[side]['processor_s']:>8.1f} CPU-s" for side in ("layers", "one"))
            line += f"{row['processor_ratio']:>7.2f}"
        rows.append(line)
    return "\n".join(rows)


if __name__ == "__main__":
    main()
