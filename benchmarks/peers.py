"""What the benchmarks measure against: the same wheels in one ``RUN``, as other projects make an environment's layer.

Both peers begin on the same Debian root file system and interpreter, and take the wheels from a server on loopback: no
index is asked and nothing is compiled from source.

* `docker_pip`: `docker build` of one ``RUN pip install``, `docker push`;
* `podman_uv`: `podman build` of one ``RUN uv pip install --compile-bytecode``, `podman push`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker.errors
import uv

from helioimages.machine import mounts
from helioimages.make.building import Built, BuiltLayer
from helioimages.make.machine import Machine
from helioimages.oci.image import Addition, Settings, append
from helioimages.publish import push as publish

_PREFIX = "/srv/conda/envs/notebook"
_PIP = """RUN python /wheels/pip.whl/pip install --no-index --no-deps --no-compile --ignore-requires-python \\
    --root-user-action ignore --find-links http://127.0.0.1:{port}/ --requirement /wheels/list.txt \\
    && (python -m compileall -qq -j 0 {site} || true)"""
_UV = """RUN /wheels/uv pip install --python {prefix}/bin/python --no-index --no-deps --no-cache --compile-bytecode \\
    --link-mode copy --find-links http://127.0.0.1:{port}/ --requirement /wheels/list.txt"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
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


def lower_layers(built: Built) -> list[BuiltLayer]:
    """Return what all sides have below Python packages: Debian's layers and the interpreter's, lowest first."""
    line: list[Built] = []
    at: Built | None = built
    while at is not None:
        line.insert(0, at)
        at = at.parent
    names = {package.name for package in built.locks.conda.packages}
    return [
        layer
        for image in line
        for layer in image.layers
        if layer.name == "debian" or layer.name in names or layer.comment.startswith("conda")
    ]


def under(machine: Machine, client, built: Built) -> str:
    """Publish `lower_layers` as an image; returns its reference."""
    layers = lower_layers(built)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A peer's image as it was published.

    Attributes:
        layers: sizes in bytes by digest, as the registry has them.
        image: what the engine knows it by; empty if it is gone from there.
        reference: by digest.
    """

    build_s: float
    push_s: float
    layers: dict[str, int]
    image: str
    reference: str

    def row(self) -> dict[str, object]:
        """Return what a benchmark prints of a cold build."""
        return {
            "cold_build_s": round(self.build_s, 1),
            "cold_push_s": round(self.push_s, 1),
            "bytes": sum(self.layers.values()),
            "layers": len(self.layers),
        }


@contextlib.contextmanager
def _context(machine: Machine, built: Built, base: str, folder: Path, *, run: str, at: int = 0) -> Iterator[Path]:
    """Yield the folder that is built from; the wheels are served meanwhile.

    Args:
        run: the step, a template.
        at: the port that it names; any that is free if 0.
    """
    wheels, context = folder / "wheels", folder / "context"
    shutil.rmtree(wheels, ignore_errors=True)
    shutil.rmtree(context, ignore_errors=True)
    wheels.mkdir()
    (context / "wheels").mkdir(parents=True)
    for wheel in built.locks.pypi.wheels:
        os.link(machine.store.artefact(wheel.sha256), wheels / wheel.file_name)
    lines = [f"{wheel.name}=={wheel.version}" for wheel in built.locks.pypi.wheels]
    (context / "wheels" / "list.txt").write_text("\n".join(sorted(lines)) + "\n")
    site = f"{_PREFIX}/lib/python{built.locks.python_version}/site-packages"
    with serving(wheels, at) as port:
        step = run.format(port=port, site=site, prefix=_PREFIX)
        (context / "Dockerfile").write_text(f"FROM {base}\nUSER 0\nCOPY wheels /wheels\n{step}\nUSER 1000\n")
        yield context


def _sizes(client, digest: str) -> dict[str, int]:
    _, manifest = client.get_manifest("peer/helio", digest)
    return {layer["digest"]: layer["size"] for layer in json.loads(manifest)["layers"]}


def docker_pip(
    machine: Machine,
    client,
    built: Built,
    base: str,
    folder: Path,
    tag: str,
    *,
    cache_from: Sequence[str] = (),
    at: int = 0,
) -> Contender:
    """`docker build` and `docker push` of the same wheels in one `RUN`.

    Args:
        base: what `under` published, which the engine has.
        cache_from: images of the engine whose layers are taken where a step is the same, as ``--cache-from`` says.
        at: the port that the ``RUN`` names; the step is the same only where this is.
    """
    engine = machine.engine
    repository = f"{client.host}/peer/helio"
    (pip,) = (wheel for wheel in built.locks.pypi.wheels if wheel.name == "pip")
    with _context(machine, built, base, folder, run=_PIP, at=at) as context:
        shutil.copyfile(machine.store.artefact(pip.sha256), context / "wheels" / "pip.whl")
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
    return Contender(
        build_s=build_s,
        push_s=push_s,
        layers=_sizes(client, digest),
        image=image.id,
        reference=f"{repository}@{digest}",
    )


def podman_uv(machine: Machine, client, built: Built, base: str, folder: Path) -> Contender:
    """`podman build` and `podman push` of the same wheels in one `RUN` of uv, in a store of its own that is removed.

    Args:
        base: what `under` published; podman has it before the clock starts.
    """
    place = folder / "podman"
    podman = ["podman", f"--root={place / 'data'}", f"--runroot={place / 'run'}", "--storage-driver=overlay"]
    image, told = f"{client.host}/peer/helio:uv", place / "digest"
    place.mkdir()
    try:
        _run([*podman, "pull", "--quiet", "--tls-verify=false", base])
        with _context(machine, built, base, folder, run=_UV) as context:
            shutil.copy(uv.find_uv_bin(), context / "wheels" / "uv")
            build = ["build", "--network=host", "--pull=never", "--tls-verify=false", f"--tag={image}", str(context)]
            build_s, _ = timed(lambda: _run([*podman, *build]))
        push = ["push", "--tls-verify=false", f"--digestfile={told}", image]
        push_s, _ = timed(lambda: _run([*podman, *push]))
        digest = told.read_text().strip()
    finally:
        mounts.detach(place)
        if not mounts.below(place):
            shutil.rmtree(place, ignore_errors=True)
    reference = f"{client.host}/peer/helio@{digest}"
    return Contender(build_s=build_s, push_s=push_s, layers=_sizes(client, digest), image="", reference=reference)


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(argv)}\n{(done.stdout + done.stderr)[-2000:]}")
