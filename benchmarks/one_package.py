#!/usr/bin/env python3
"""One package of helio changes: what it costs until a node runs it, here and in one `RUN`.

Both sides start from the same state: every download is on this machine but the changed wheel, the image with the old
version is built, published and on the engine. Then the lock names another version of one package, and each side builds,
publishes to the same kind of registry (docker-registry on loopback) and pulls.

* ours: `build` and `publish` without the notebooks (the peer has none).
* the peer: `peers.docker_pip`.

Nothing of the checkout or of the store is changed: both are copied (the store by hard links) and removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from helioimages.machine import bootstrap  # noqa: E402

bootstrap.ensure()

import peers  # noqa: E402

from helioimages.core.progress import say  # noqa: E402
from helioimages.engines import engine as engines  # noqa: E402
from helioimages.engines import registry_server  # noqa: E402
from helioimages.locks.checkout import Checkout  # noqa: E402
from helioimages.locks.locking import Wish  # noqa: E402
from helioimages.machine import host  # noqa: E402
from helioimages.machine.store import Store, default_root  # noqa: E402
from helioimages.make import images, relocking  # noqa: E402
from helioimages.make.machine import Machine  # noqa: E402
from helioimages.publish import push as publish  # noqa: E402
from helioimages.publish import release  # noqa: E402

KEPT = ("artefacts", "blobs", "memo", "cache", "toolchain")


def copied_store(folder: Path, kept: Sequence[str] = KEPT) -> Store:
    """Return a store of hard links to the default one, whose new files are its own."""
    source = default_root()
    for name in kept:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, copy_function=os.link)
    return Store(folder)


def pull(engine, reference: str) -> float:
    """Return the seconds of a pull by digest."""
    return peers.timed(lambda: engine.pull(reference))[0]


def ours(root: Path, machine: Machine, client, image: str) -> dict[str, object]:
    """Build and publish, as `publish` does it, without notebooks."""
    build_s, done = peers.timed(lambda: images.build(Checkout.of(root), machine, (image,)))
    push_s, pushed = peers.timed(lambda: release.push_built(client, machine, done[image], "ours/"))
    publish.promote(client, f"ours/{image}", done[image].image.digest, ("latest",))
    return {
        "build_s": build_s,
        "push_s": push_s,
        "bytes_pushed": pushed.bytes_sent,
        "new_layers": done[image].fresh,
        "layers": {layer.digest: layer.size for layer in done[image].image.layers},
        "pull_s": pull(machine.engine, pushed.reference),
        "built": done[image],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="helio")
    parser.add_argument("--package", default="sunpy")
    parser.add_argument("--version", required=True, help="the version that the lock shall name instead")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", type=Path, help="folder with some 25 GB free, on the store's file system")
    asked = parser.parse_args()
    # Ended politely, what was started here ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host.ensure()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.work or default_root()) as name:
        folder = Path(name)
        checkout = folder / "checkout"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(checkout)], check=True)
        store = copied_store(folder / "store")
        engine = engines.connect(Store(default_root()))
        server = registry_server.start(store.root)
        try:
            result = measure(asked, checkout, store, engine, folder)
        finally:
            registry_server.stop(store.root)
    print(json.dumps(result, indent=2) if asked.json else table(result))
    say(f"registry was {server.host}")


def measure(asked, checkout: Path, store: Store, engine, folder: Path) -> dict[str, object]:
    """Return both sides' figures."""
    jobs = os.cpu_count() or 2
    machine = Machine(store=store, jobs=jobs)
    machine.__dict__["engine"] = engine
    made: list[str] = []
    with release.connect(store, None) as client:
        before = ours(checkout, machine, client, asked.image)
        base = peers.under(machine, client, before["built"])
        say("==> the peer, for the first time")
        peer_before = peers.docker_pip(machine, client, before["built"], base, folder, "old")
        environment = checkout / "environments" / asked.image / "environment.yml"
        text = environment.read_text()
        head = "  constraints:\n"
        if head not in text:
            raise SystemExit(f"error: {environment} has no constraints to add to")
        environment.write_text(text.replace(head, f"{head}    - {asked.package}=={asked.version}\n", 1))
        lock_s, report = peers.timed(
            lambda: relocking.lock(Checkout.of(checkout), machine, (asked.image,), Wish(update=(asked.package,)))
        )
        say("\n".join(line for line in report.lines() if "held back" not in line))
        after = ours(checkout, machine, client, asked.image)
        peer_after = peers.docker_pip(machine, client, after["built"], base, folder, "new")
        engine.client.images.remove(peer_after.image, force=True)
        peer_pull_s = pull(engine, peer_after.reference)
        made += [peer_before.image, peer_after.reference, base]
        for reference in made:
            engine.client.images.remove(reference, force=True)
        for digest in (before["built"].image.digest, after["built"].image.digest):
            engine.client.images.remove(f"{client.host}/ours/{asked.image}@{digest}", force=True)

    def row(build_s, push_s, pull_s, new, old) -> dict[str, object]:
        sizes = [size for digest, size in new.items() if digest not in old]
        return {
            "build_s": round(build_s, 2),
            "push_s": round(push_s, 2),
            "to_published_s": round(build_s + push_s, 2),
            "bytes_pushed": sum(sizes),
            "layers_pulled": len(sizes),
            "bytes_pulled": sum(sizes),
            "pull_s": round(pull_s, 2),
        }

    mine = row(after["build_s"], after["push_s"], after["pull_s"], after["layers"], before["layers"])
    theirs = row(peer_after.build_s, peer_after.push_s, peer_pull_s, peer_after.layers, peer_before.layers)
    return {
        "image": asked.image,
        "change": f"{asked.package} -> {asked.version}",
        "cores": os.cpu_count(),
        "lock_s": round(lock_s, 1),
        "ours": mine,
        "one_run": theirs,
        "one_run_first": {
            "build_s": round(peer_before.build_s, 1),
            "push_s": round(peer_before.push_s, 1),
            "bytes": sum(peer_before.layers.values()),
        },
        "ratio": {key: round(theirs[key] / mine[key], 1) for key in ("to_published_s", "bytes_pushed", "pull_s")},
    }


def table(result: dict) -> str:
    """Return the figures for people."""
    rows = [f"{result['image']}: {result['change']}, {result['cores']} cores", ""]
    rows.append(f"{'':<28}{'one layer a package':>22}{'one RUN':>14}{'ratio':>9}")
    for key, name, scale, unit in (
        ("build_s", "build", 1, "s"),
        ("push_s", "push", 1, "s"),
        ("to_published_s", "changed lock to published", 1, "s"),
        ("bytes_pushed", "pushed", 1e6, "MB"),
        ("pull_s", "pull, with the old image", 1, "s"),
    ):
        mine, theirs = result["ours"][key] / scale, result["one_run"][key] / scale
        rows.append(f"{name:<28}{mine:>19.1f} {unit:<2}{theirs:>11.1f} {unit:<2}{theirs / mine:>8.1f}x")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
