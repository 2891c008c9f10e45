#!/usr/bin/env python3
"""An image from nothing but its downloads: every layer made and published; and again, with nothing changed.

The store begins with the downloaded packages alone (and the wheels and conda packages that are compiled here, which
all sides take as they are). The peers are those of `peers`: the same wheels in one ``RUN``, on the same Debian root
file system and interpreter, by docker and pip, and by podman and uv; what lies under the ``RUN`` is ours on all sides,
and its time is not counted for the peers. So our build is measured twice: from downloads alone, and, `on_the_same`,
from what the peers begin on. Podman is installed, if need be.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import one_package as bench
import peers
from processor import Used

from helioimages.core.progress import say
from helioimages.engines import engine as engines
from helioimages.engines import registry_server
from helioimages.locks.checkout import Checkout
from helioimages.machine import host
from helioimages.machine.store import Store, default_root
from helioimages.make import images, linking, notes, own_files
from helioimages.make.building import Built
from helioimages.make.machine import Machine
from helioimages.publish import release

#: What a store has of its downloads, and of what both sides take as it is.
KEPT = ("artefacts", "toolchain", "memo/wheel")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="helio")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--no-peer", action="store_true", help="measure this project alone")
    parser.add_argument("--work", type=Path, help="folder with some 25 GB free, on the store's file system")
    asked = parser.parse_args()
    # Ended politely, what was started here ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host.ensure()
    if not (asked.no_peer or shutil.which("podman")):
        say("==> installing podman")
        subprocess.run(host.command(["podman"]), check=True)
    engine = engines.connect(Store(default_root()))
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.work or default_root()) as name:
        folder = Path(name)
        checkout = folder / "checkout"
        subprocess.run(["git", "clone", "-q", str(bench.ROOT), str(checkout)], check=True)
        store = bench.copied_store(folder / "store", kept=KEPT)
        try:
            result = measure(asked, checkout, store, engine, folder)
        finally:
            registry_server.stop(store.root)
    print(json.dumps(result, indent=2))


def measure(asked, checkout: Path, store: Store, engine, folder: Path) -> dict[str, object]:
    """Return seconds and bytes of both sides."""
    made = Checkout.of(checkout)
    machine = Machine(store=store, jobs=asked.jobs)
    machine.__dict__["engine"] = engine
    result: dict[str, object] = {"image": asked.image, "jobs": asked.jobs, "cores": os.cpu_count()}
    with release.connect(store, None) as client:
        used = Used()
        with used.joined():
            build_s, done = peers.timed(lambda: images.build(made, machine, (asked.image,)))
            processor_s = used.seconds
        built = done[asked.image]
        push_s, pushed = peers.timed(lambda: release.push_built(client, machine, built, "ours/"))
        warm_s, _ = peers.timed(lambda: images.build(made, Machine(store=store, jobs=asked.jobs), (asked.image,)))
        again_s, _ = peers.timed(lambda: release.push_built(client, machine, built, "ours/"))
        result["ours"] = {
            "cold_build_s": round(build_s, 1),
            "processor_s": processor_s and round(processor_s, 1),
            "cold_push_s": round(push_s, 1),
            "warm_build_s": round(warm_s, 2),
            "warm_push_s": round(again_s, 2),
            "bytes": pushed.bytes_sent,
            "layers": len(built.image.layers),
        }
        begun = begun_store(folder / "begun", store, built)
        same_s, again = peers.timed(lambda: images.build(made, Machine(store=begun, jobs=asked.jobs), (asked.image,)))
        if again[asked.image].image.digest != built.image.digest:
            raise SystemExit("error: another image from the same downloads")
        shutil.rmtree(begun.root)
        result["on_the_same"] = {"cold_build_s": round(same_s, 1)}
        if asked.no_peer:
            return result
        base = peers.under(machine, client, built)
        say("==> the peers")
        docker = peers.docker_pip(machine, client, built, base, folder, "cold")
        for reference in (docker.image, base):
            engine.client.images.remove(reference, force=True)
        podman = peers.podman_uv(machine, client, built, base, folder)
    for name, peer in (("docker_pip", docker), ("podman_uv", podman)):
        seconds = peer.build_s + peer.push_s
        result[name] = {
            **peer.row(),
            "ratio": round(seconds / (build_s + push_s), 2),
            "ratio_on_the_same": round(seconds / (same_s + push_s), 2),
        }
    return result


def begun_store(folder: Path, store: Store, built: Built) -> Store:
    """Return a store with the downloads, and the layers that the peers begin on."""
    begun = bench.copied_store(folder, kept=KEPT)
    for layer in peers.lower_layers(built):
        for path in (
            store.blob(layer.layer.digest),
            store.cached(linking.LISTS, layer.key),
            store.cached(notes.NOTES, layer.key),
            store.root / "memo" / linking.LAYERS / f"{layer.key}.json",
            store.root / "memo" / own_files.SHAPES / f"{layer.key}.json",
        ):
            if not path.exists():
                continue  # layers of packages have no shape
            target = folder / path.relative_to(store.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return begun


if __name__ == "__main__":
    main()
