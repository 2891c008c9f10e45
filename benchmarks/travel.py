#!/usr/bin/env python3
"""What a fresh machine pays for an image that another one published: seconds, and bytes over the wire.

A registry on loopback is filled from the default store with the image, its documents, its layers' and packages' cache.
Then, each time from an empty store, through a relay that counts every byte of both directions:

* unchanged: `publish` of the same locks. It must find all of it published;
* moved: `build --cache`, which brings each layer here and reads it whole;
* changed (with ``--package`` and ``--version``): the lock names another version of one small package; from the changed
  lock to the image pushed by digest with its documents, without notebooks. The changed wheel comes from the index;
* one_run (with ``--docker``): the same wheels by `docker build` in one ``RUN``, `peers.docker_pip`, with the image
  that was published before as ``--cache-from``: pull of it, build and push, unchanged and with the change. What lies
  under the ``RUN`` is on the engine already, and is not counted.

The report of the notebooks is made up: how long they take is not measured here. Nothing of the checkout or of the
default store is changed, but that documents of the image are kept there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import one_package as bench
import peers
from relay import Relay

from helioimages.cache.access import Cache
from helioimages.cache.entry import place_of
from helioimages.engines import engine as engines
from helioimages.engines import registry_server
from helioimages.locks.checkout import Checkout
from helioimages.locks.locking import Wish
from helioimages.machine import host
from helioimages.machine.store import Store, default_root
from helioimages.make import images, relocking, travel
from helioimages.make.building import Built
from helioimages.make.machine import Machine
from helioimages.oci.registry import Registry
from helioimages.publish import attach, documents, release
from helioimages.smoke import run

PREFIX = "bench/"


def fill(checkout: Checkout, names: Sequence[str], port: int, out: Path, jobs: int) -> None:
    """Publish images as `publish` does, with the report of a run that did not take place."""
    store = Store(default_root())
    built = images.build(checkout, Machine(store=store, jobs=jobs), names)
    with Registry(f"127.0.0.1:{port}") as client:
        cache = Cache(client=client, place=place_of(client.host, PREFIX))
        for name in checkout.with_ancestors(names):
            _fill_one(checkout, store, client, cache, built[name], out / name)


def _fill_one(checkout: Checkout, store: Store, client: Registry, cache: Cache, built: Built, out: Path) -> None:
    repository = PREFIX + built.spec.name
    pushed = release.push_built(client, Machine(store=store, jobs=4), built, PREFIX)
    out.mkdir(parents=True)
    (out / "report.json").write_text(json.dumps({"reference": pushed.reference, "passed": True}))
    key = run.key(built.image.digest, checkout.lineage(built.spec.name), checkout.root)
    documents.attach(client, repository, built, out, store, run=documents.ReportSubject(key=key))
    subject = attach.Subject(client=client, repository=repository, built=built, root=checkout.root, store=store)
    attach.attach(subject, key=None)
    travel.keep(cache, built, store, mount=repository, sign=None)
    travel.keep_artefacts(cache, built, store)
    travel.keep_image(cache, built, sign=None)


@contextmanager
def fresh(port: int, folder: Path, jobs: int) -> Iterator[tuple[Machine, Relay]]:
    """Give a machine with an empty store, and what counts the bytes of its registry."""
    relay = Relay(port)
    with tempfile.TemporaryDirectory(prefix="fresh-", dir=folder) as name, Registry(relay.host) as client:
        cache = Cache(client=client, place=place_of(relay.host, PREFIX))
        yield Machine(store=Store(Path(name), travelled=True), jobs=jobs, caches=(cache,)), relay
    relay.close()


def change(root: Path, package: str, version: str, environment: str, image: str, jobs: int) -> Checkout:
    """Write another version of a package into the lock of a checkout, and return that."""
    path = root / "environments" / environment / "environment.yml"
    text, head = path.read_text(), "  constraints:\n"
    if head not in text:
        raise SystemExit(f"error: {path} has no constraints to add to")
    path.write_text(text.replace(head, f"{head}    - {package}=={version}\n", 1))
    machine = Machine(store=Store(default_root()), jobs=jobs)
    relocking.lock(Checkout.of(root), machine, (image,), Wish(update=(package,)))
    return Checkout.of(root)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="base")
    parser.add_argument("--package", help="a small package of the image's own")
    parser.add_argument("--version", help="the version that the lock shall name instead")
    parser.add_argument("--docker", action="store_true", help="measure one RUN with its image as cache, too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--work", type=Path, help="folder with some 10 GB free")
    asked = parser.parse_args()
    # Ended politely, what was started here ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host.ensure()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.work or default_root()) as name:
        folder = Path(name)
        root = folder / "checkout"
        subprocess.run(["git", "clone", "-q", str(bench.ROOT), str(root)], check=True)
        server = registry_server.start(folder / "registry", port=5700)
        try:
            print(json.dumps(measure(asked, root, server.port, folder), indent=2))
        finally:
            registry_server.stop(folder / "registry")


def measure(asked: argparse.Namespace, root: Path, port: int, folder: Path) -> dict[str, object]:
    """Return the figures."""
    checkout, names = Checkout.of(root), (asked.image,)
    fill(checkout, names, port, folder / "reports", asked.jobs)
    result: dict[str, object] = {"image": asked.image, "cores": os.cpu_count(), "load": os.getloadavg()[0]}

    with fresh(port, folder, asked.jobs) as (machine, relay):
        order = release.PublishOrder(host=relay.host, prefix=PREFIX, out=folder / "out")
        seconds, done = peers.timed(lambda: release.publish(checkout, machine, names, order))
        made = [path for path in (machine.store.root / "blobs").rglob("*") if path.is_file()]
        if done[0].bytes_sent or made:
            raise SystemExit(f"error: {asked.image} was made, not found")
        result["unchanged"] = {"seconds": round(seconds, 2), "bytes": relay.moved}

    with fresh(port, folder, asked.jobs) as (machine, relay):
        seconds, built = peers.timed(lambda: images.build(checkout, machine, names))
        size = sum(layer.size for layer in built[asked.image].image.layers)
        result["moved"] = {"seconds": round(seconds, 2), "bytes": relay.moved, "image_bytes": size}

    if asked.package:
        environment = checkout.images[asked.image].environment
        before = {layer.digest for layer in built[asked.image].image.layers}
        changed = change(root, asked.package, asked.version, environment, asked.image, asked.jobs)
        with fresh(port, folder, asked.jobs) as (machine, relay):

            def publish() -> tuple[Built, int]:
                made = images.build(changed, machine, names, lenders=machine.caches)[asked.image]
                with Registry(relay.host) as client:
                    sent = release.push_built(client, machine, made, PREFIX).bytes_sent
                    images.metadata(changed, machine, names)
                    repository = PREFIX + asked.image
                    attach.attach(
                        attach.Subject(
                            client=client, repository=repository, built=made, root=changed.root, store=machine.store
                        ),
                        key=None,
                    )
                    return made, sent

            seconds, (made, sent) = peers.timed(publish)
            result["changed"] = {
                "change": f"{asked.package} -> {asked.version}",
                "seconds": round(seconds, 2),
                "bytes": relay.moved,
                "sent": sent,
                "new_layers": len({layer.digest for layer in made.image.layers} - before),
                "artefacts_bytes": sum(path.stat().st_size for path in (machine.store.root / "artefacts").rglob("*")),
            }
            if asked.docker:
                # The default store has all wheels but the changed one.
                store = bench.copied_store(folder / "peer", kept=("artefacts", "blobs"))
                for path in (machine.store.root / "artefacts" / "sha256").iterdir():
                    store.put_artefact(path)
        if asked.docker:
            print(json.dumps(result, indent=2), file=sys.stderr)
            result["one_run"] = one_run(port, folder, store, built[asked.image], made)
    return result


def one_run(port: int, folder: Path, store: Store, before: Built, after: Built) -> dict[str, object]:
    """Return what the same costs with one ``RUN``, whose last image is the cache.

    Args:
        store: has the wheels of both images, and the layers of the first.
    """
    engine = engines.connect(Store(default_root()))
    machine = Machine(store=store, jobs=os.cpu_count() or 2)
    machine.__dict__["engine"] = engine
    result: dict[str, object] = {}
    # The ``RUN`` names the port that wheels come from: with another one each time, the cache would have no such step.
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = free.getsockname()[1]
    with Registry(f"127.0.0.1:{port}") as client:
        under = peers.under(machine, client, before)
        first = peers.docker_pip(machine, client, before, under, folder, "old", at=at)
        engine.client.images.remove(first.image, force=True)
        for name, built in (("unchanged", before), ("changed", after)):
            relay = Relay(port)
            with Registry(relay.host) as counted:
                old = f"{relay.host}/peer/helio:old"
                pull_s, _ = peers.timed(lambda old=old: engine.client.images.pull(old))
                made = peers.docker_pip(machine, counted, built, under, folder, name, cache_from=(old,), at=at)
            for reference in (old, made.image):
                with suppress(peers.docker.errors.ImageNotFound):
                    engine.client.images.remove(reference, force=True)
            relay.close()
            result[name] = {
                "seconds": round(pull_s + made.build_s + made.push_s, 2),
                "pull_s": round(pull_s, 2),
                "build_s": round(made.build_s, 2),
                "push_s": round(made.push_s, 2),
                "bytes": relay.moved,
            }
        engine.client.images.remove(under, force=True)
    return result


if __name__ == "__main__":
    main()
