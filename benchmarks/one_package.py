#!/usr/bin/env python3
"""One package of helio changes: what it costs until a node runs it, here and in one `RUN`.

Both sides start from the same state: every download is on this machine but the changed wheel, the image with the old
version is built, published and on the engine. Then the lock names another version of one package, and each side builds,
publishes to the same kind of registry (docker-registry on loopback) and pulls.

* ours: `build` and `publish` without the notebooks (the peer has none).
* the peer: the same Debian root file system and interpreter, then the same wheels by one
  ``RUN pip install --no-deps`` (no index, no compilation: the wheels are served from this machine), as pangeo's and
  Jupyter's images put an environment into one layer; `docker build`, `docker push`.

Nothing of the checkout or of the store is changed: both are copied (the store by hard links) and removed at the end.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from helioimages.machine import bootstrap  # noqa: E402

bootstrap.ensure()

import docker.errors  # noqa: E402

from helioimages.core.progress import say  # noqa: E402
from helioimages.engines import engine as engines  # noqa: E402
from helioimages.engines import registry_server  # noqa: E402
from helioimages.locks.checkout import Checkout  # noqa: E402
from helioimages.locks.locking import Wish  # noqa: E402
from helioimages.machine import host  # noqa: E402
from helioimages.machine.store import Store, default_root  # noqa: E402
from helioimages.make import images, relocking  # noqa: E402
from helioimages.make.building import Built  # noqa: E402
from helioimages.make.machine import Machine  # noqa: E402
from helioimages.oci.image import Addition, Settings, append  # noqa: E402
from helioimages.publish import push as publish  # noqa: E402
from helioimages.publish import release  # noqa: E402

KEPT = ("artefacts", "blobs", "memo", "cache", "toolchain")
DOCKERFILE = """FROM {under}
USER 0
RUN python /wheels/pip.whl/pip install --no-index --no-deps --no-compile --ignore-requires-python \\
    --root-user-action ignore --find-links http://127.0.0.1:{port}/ --requirement /wheels/list.txt \\
    && (python -m compileall -qq -j 0 {site} || true)
USER 1000
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


def copied_store(folder: Path, kept: Sequence[str] = KEPT) -> Store:
    """Return a store of hard links to the default one, whose new files are its own."""
    source = default_root()
    for name in kept:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, copy_function=os.link)
    return Store(folder)


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[int]:
    """Serve a folder on loopback, at a port or any that is free; yields it."""
    server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def timed(work) -> tuple[float, object]:
    """Return seconds and result."""
    start = time.monotonic()
    result = work()
    return time.monotonic() - start, result


def pull(engine, reference: str) -> float:
    """Return the seconds of a pull by digest."""
    return timed(lambda: engine.pull(reference))[0]


def ours(root: Path, machine: Machine, client, image: str) -> dict[str, object]:
    """Build and publish, as `publish` does it, without notebooks."""
    build_s, done = timed(lambda: images.build(Checkout.of(root), machine, (image,)))
    push_s, pushed = timed(lambda: release.push_built(client, machine, done[image], "ours/"))
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


def under(machine: Machine, client, built: Built) -> str:
    """Publish what both sides have below Python packages, as an image; returns its reference."""
    line: list[Built] = []
    at: Built | None = built
    while at is not None:
        line.insert(0, at)
        at = at.parent
    names = {package.name for package in built.locks.conda.packages}
    layers = [
        layer
        for image in line
        for layer in image.layers
        if layer.name == "debian" or layer.name in names or layer.comment.startswith("conda")
    ]
    config = built.image.config
    settings = Settings(env=dict(variable.partition("=")[::2] for variable in config.env), user="1000", working_dir="/")
    made = append(
        None,
        [Addition(layer=layer.layer, created_by=layer.name, comment="") for layer in layers],
        settings,
        platform=built.plan.platform,
        created_epoch=built.locks.epoch,
    )
    reference = publish.push_untagged(client, made, "peer/under", machine.store).reference
    machine.engine.pull(reference)
    return reference


def peer(
    machine: Machine,
    client,
    built: Built,
    base: str,
    folder: Path,
    tag: str,
    *,
    cache_from: Sequence[str] = (),
    at: int = 0,
) -> dict[str, object]:
    """`docker build` and `docker push` of the same wheels in one `RUN`.

    Args:
        cache_from: images of the engine whose layers are taken where a step is the same, as ``--cache-from`` says.
        at: the port that the ``RUN`` names; the step is the same only where this is.
    """
    engine = machine.engine
    wheels, context = folder / "wheels", folder / "context"
    shutil.rmtree(wheels, ignore_errors=True)
    shutil.rmtree(context, ignore_errors=True)
    wheels.mkdir()
    (context / "wheels").mkdir(parents=True)
    for wheel in built.locks.pypi.wheels:
        os.link(machine.store.artefact(wheel.sha256), wheels / wheel.file_name)
    lines = [f"{wheel.name}=={wheel.version}" for wheel in built.locks.pypi.wheels]
    (context / "wheels" / "list.txt").write_text("\n".join(sorted(lines)) + "\n")
    (pip,) = (wheel for wheel in built.locks.pypi.wheels if wheel.name == "pip")
    shutil.copyfile(machine.store.artefact(pip.sha256), context / "wheels" / "pip.whl")
    site = "/srv/conda/envs/notebook/lib/python" + built.locks.python_version + "/site-packages"
    repository = f"{client.host}/peer/helio"
    with serving(wheels, at) as port:
        text = DOCKERFILE.format(under=base, port=port, site=site)
        (context / "Dockerfile").write_text(text.replace("USER 0\n", "USER 0\nCOPY wheels /wheels\n"))
        build = lambda: engine.client.images.build(  # noqa: E731
            path=str(context),
            tag=f"{repository}:{tag}",
            network_mode="host",
            rm=True,
            forcerm=True,
            cache_from=[*cache_from],
        )
        try:
            build_s, (image, _) = timed(build)
        except docker.errors.BuildError as error:
            lines = [row.get("stream", "") for row in error.build_log]
            raise SystemExit(f"error: docker build\n{''.join(lines)[-2000:]}") from error

    def push() -> str:
        for row in engine.client.api.push(repository, tag=tag, stream=True, decode=True):
            if "error" in row:
                raise SystemExit(f"error: docker push: {row['error']}")
            if "aux" in row:
                return row["aux"]["Digest"]
        raise SystemExit("error: docker push said no digest")

    push_s, digest = timed(push)
    _, manifest = client.get_manifest("peer/helio", digest)
    return {
        "build_s": build_s,
        "push_s": push_s,
        "layers": {layer["digest"]: layer["size"] for layer in json.loads(manifest)["layers"]},
        "image": image.id,
        "reference": f"{repository}@{digest}",
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
        base = under(machine, client, before["built"])
        say("==> the peer, for the first time")
        peer_before = peer(machine, client, before["built"], base, folder, "old")
        environment = checkout / "environments" / asked.image / "environment.yml"
        text = environment.read_text()
        head = "  constraints:\n"
        if head not in text:
            raise SystemExit(f"error: {environment} has no constraints to add to")
        environment.write_text(text.replace(head, f"{head}    - {asked.package}=={asked.version}\n", 1))
        lock_s, report = timed(
            lambda: relocking.lock(Checkout.of(checkout), machine, (asked.image,), Wish(update=(asked.package,)))
        )
        say("\n".join(line for line in report.lines() if "held back" not in line))
        after = ours(checkout, machine, client, asked.image)
        peer_after = peer(machine, client, after["built"], base, folder, "new")
        engine.client.images.remove(peer_after["image"], force=True)
        peer_after["pull_s"] = pull(engine, peer_after["reference"])
        made += [peer_before["image"], peer_after["reference"], base]
        for reference in made:
            engine.client.images.remove(reference, force=True)
        for digest in (before["built"].image.digest, after["built"].image.digest):
            engine.client.images.remove(f"{client.host}/ours/{asked.image}@{digest}", force=True)
    fresh = lambda new, old: {d: s for d, s in new["layers"].items() if d not in old["layers"]}  # noqa: E731

    def row(new, old) -> dict[str, object]:
        layers = fresh(new, old)
        return {
            "build_s": round(new["build_s"], 2),
            "push_s": round(new["push_s"], 2),
            "to_published_s": round(new["build_s"] + new["push_s"], 2),
            "bytes_pushed": sum(layers.values()),
            "layers_pulled": len(layers),
            "bytes_pulled": sum(layers.values()),
            "pull_s": round(new["pull_s"], 2),
        }

    mine, theirs = row(after, before), row(peer_after, peer_before)
    return {
        "image": asked.image,
        "change": f"{asked.package} -> {asked.version}",
        "cores": os.cpu_count(),
        "lock_s": round(lock_s, 1),
        "ours": mine,
        "one_run": theirs,
        "one_run_first": {
            "build_s": round(peer_before["build_s"], 1),
            "push_s": round(peer_before["push_s"], 1),
            "bytes": sum(peer_before["layers"].values()),
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
