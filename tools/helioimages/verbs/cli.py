"""The verbs, in the pipeline's order."""

from __future__ import annotations

import json
import sys
from datetime import UTC
from importlib import import_module
from pathlib import Path

import click

from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..engines import doctor as doctoring
from ..engines import engine, own_engine, registry_server
from ..engines.hub import server
from ..locks import locking
from ..machine import host
from ..machine.store import Store, default_root
from .command import main, verb, workspace
from .workspace import as_json

__all__ = ["main"]


@verb
@click.option("--check", is_flag=True, help="Write nothing; fail if a lock is stale.")
@click.option("--update", multiple=True, metavar="NAME", help="Forget a package's version (`all` forgets every one).")
@click.option(
    "--exclude-newer",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
    help="Packages uploaded later do not exist, e.g. 2026-10-01 (UTC).",
)
@click.option(
    "--channel-dir", multiple=True, type=click.Path(path_type=Path), help="Folder with the channel's repodata."
)
def lock(names, root, jobs, platform, channel, as_data, check, update, exclude_newer, channel_dir):
    """Resolve environments and pin every byte."""
    newer = exclude_newer and (exclude_newer if exclude_newer.tzinfo else exclude_newer.replace(tzinfo=UTC))
    ws = workspace(root, jobs, platform, channel)
    # A wrong name or folder is told before minutes go into the channel.
    ws.checkout.selected(())
    locking.selected(names, ws.environments, ws.images)
    if not check:
        host.ensure()
    report = ws.lock(names, check=check, update=update, exclude_newer=newer, channel_dirs=channel_dir)
    print(as_json(report) if as_data else "\n".join(report.lines()) or "every lock is current")


@verb
@click.option("--check", is_flag=True, help="Write nothing; fail if this machine builds other layers.")
def render(names, root, jobs, platform, channel, as_data, check):
    """Write the images' Dockerfiles, or prove them."""
    host.ensure()
    ws = workspace(root, jobs, platform, channel)
    built = ws.build(ws.chosen(names))
    ws.render(built, check=check)
    word = "agree" if check else "written"
    tags = {name: one.tag for name, one in built.items()}
    print(as_json(tags) if as_data else f"{', '.join(built)}: Dockerfiles {word}")


@verb
@click.option("--output", type=click.Path(path_type=Path), help="Also write an OCI layout into this folder.")
def build(names, root, jobs, platform, channel, as_data, output):
    """Build images from their locks."""
    host.ensure()
    ws = workspace(root, jobs, platform, channel)
    built = ws.build(ws.chosen(names))
    if output:
        ws.layout(built, output)
    rows = {name: {"digest": one.image.digest, "size": one.image.size, "tag": one.tag} for name, one in built.items()}
    print(as_json(rows) if as_data else "\n".join(f"{name} {row['digest']}" for name, row in rows.items()))


_gpus = click.option("--gpus", metavar="COUNT", help="NVIDIA GPUs for a container: a number, or `all`.")


@verb
@click.option("--output", type=click.Path(path_type=Path), default=Path("_report"), show_default=True, help="Reports.")
@click.option("--only", multiple=True, metavar="NOTEBOOK", help="Run these notebooks only.")
@click.option("--network", is_flag=True, help="Let notebooks reach the network.")
@click.option("-p", "--parameter", "parameters", multiple=True, type=(str, str), help="A papermill parameter.")
@_gpus
def smoke(names, root, jobs, platform, channel, as_data, output, only, network, parameters, gpus):
    """Run the smoke notebooks inside images."""
    engine.gpu_request(gpus)
    host.ensure()
    ws = workspace(root, jobs, platform, channel)
    wanted = ws.chosen(names)
    built = ws.build(wanted)
    reports = {}
    with ws.registry(None) as client:
        for name in wanted:
            pushed = ws.push(client, built[name], "")
            out = output.resolve() / name
            ws.smoke(
                built[name],
                pushed.reference,
                out,
                only=only,
                network=network,
                parameters=dict(parameters),
                gpus=gpus,
            )
            say(f"    {name}: passed; {out / 'report.html'}")
            reports[name] = json.loads((out / "report.json").read_text("utf-8"))
    if as_data:
        print(as_json(reports))


_registry = click.option("--registry", help="Host, e.g. ghcr.io; the embedded one on loopback by default.")
_prefix = click.option("--prefix", default="", help="Put before image names, e.g. heliocloud/.")
_output = click.option(
    "--output", type=click.Path(path_type=Path), default=Path("_report"), show_default=True, help="Reports."
)
_again = click.option("--again", is_flag=True, help="Run notebooks even if they passed in this very image.")
_key = click.option(
    "--key",
    envvar="COSIGN_KEY",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Sign with this private key: cosign's, or PEM (COSIGN_KEY names it too, COSIGN_PASSWORD opens it).",
)
_before_tag = click.option(
    "--before-tag",
    default="",
    metavar="COMMAND",
    help="Must succeed before tags move, e.g. 'cosign sign --yes'; the reference is its last argument.",
)


@verb
@_registry
@_prefix
@_output
@_again
@_key
@_before_tag
def publish(names, root, jobs, platform, channel, as_data, registry, prefix, output, again, key, before_tag):
    """Push by digest, run the notebooks in that digest, then tag."""
    host.ensure()
    ws = workspace(root, jobs, platform, channel)
    wanted, out = ws.chosen(names), output.resolve()
    done = ws.publish(wanted, host=registry, prefix=prefix, out=out, reuse=not again, key=key, before_tag=before_tag)
    _show(done, as_data)


@verb
@_registry
@_prefix
@_output
@_again
@_key
def up(names, root, jobs, platform, channel, as_data, registry, prefix, output, again, key):
    """The whole main job: set up this machine, build, test and publish every image."""
    host.ensure()
    ws = workspace(root, jobs, platform, channel)
    wanted = ws.chosen(names)
    done = ws.publish(wanted, host=registry, prefix=prefix, out=output.resolve(), reuse=not again, key=key)
    _show(done, as_data)
    if not as_data:
        default = [one for one in done if ws.images[one.image].hub.default]
        say(f"\nStart one:\n  {starting((default or done)[-1].reference, ws.engine.address)}")
        say("Stop what this started: buildimages down")


def starting(reference: str, engine: str) -> str:
    """Return the command that starts an image, with the engine's address where docker does not find it by itself."""
    docker = "docker" if engine == f"unix://{host.SOCKETS[0]}" else f"docker -H {engine}"
    return f"{docker} run --rm -p 127.0.0.1:8888:8888 {reference}"


@verb
@click.option("--port", type=click.IntRange(1, 65535), default=8888, show_default=True, help="On loopback.")
@_gpus
def run(names, root, jobs, platform, channel, as_data, port, gpus):
    """Start an image locally (the hubs' default one if none is named) and print its address."""
    engine.gpu_request(gpus)
    host.ensure()
    ws = workspace(root, jobs, platform, channel)
    default = [name for name, image in ws.images.items() if image.hub.default]
    (name,) = ws.checkout.selected(names or default)[-1:]
    built = ws.build((name,))[name]
    with ws.registry(None) as client:
        reference = ws.push(client, built, "").reference
    address = ws.engine.serve(reference, port=port, gpus=gpus)
    print(as_json({"image": name, "reference": reference, "address": address}) if as_data else address)


@verb
@click.argument("folder", type=click.Path(path_type=Path))
def context(names, root, jobs, platform, channel, as_data, folder):
    """Lay out a folder for a plain `docker build`: NAME FOLDER."""
    ws = workspace(root, jobs, platform, channel)
    if not names and str(folder) in ws.images:
        raise HelioError(
            Stage.USAGE, f"a folder for `{folder}` is not named", hint=f"buildimages context {folder} FOLDER"
        )
    host.ensure()
    for name in ws.chosen(names):
        ws.context(ws.build((name,))[name], folder / name if len(names) != 1 else folder)
    print(as_json({"folder": str(folder)}) if as_data else folder)


@verb(images=False)
def channel(root, jobs, platform, channel, as_data):
    """Compile the local conda channel and print its folder."""
    host.ensure()
    folder = workspace(root, jobs, platform, channel).channel_dir()
    print(as_json({"folder": str(folder)}) if as_data else folder)


@verb(images=False)
def doctor(root, jobs, platform, channel, as_data):
    """Say what this machine has and lacks for `up`, and the command that mends each lack.

    Disk space, programs, the package index, the Debian mirror, the engine and the registry are tried; nothing is
    started or installed.
    """
    store = Store(default_root())
    checks, facts = doctoring.checks(store), host.facts()
    mend = doctoring.mend(checks)
    if as_data:
        needs = {check.name: {"ok": check.ok, "found": check.found} for check in checks}
        print(as_json({"facts": facts, "needs": needs, "mend": mend}))
    else:
        for key, value in (*facts.items(), *((check.name, check.found) for check in checks)):
            print(f"{key:<24}{value}")
        print("\nnothing lacks" if not mend else "\nmend it:\n" + "\n".join(f"  {line}" for line in mend))
    sys.exit(11 if mend else 0)


@verb(images=False)
def down(root, jobs, platform, channel, as_data):
    """Stop the hub, the registry and the engine that this project started; what they hold stays."""
    store = Store(default_root())
    # An engine that died keeps the hub from being tidied up, but nothing else from being stopped.
    fault, hub = None, False
    try:
        hub = server.stop(server.default_folder(store.root)) is not None
    except HelioError as error:
        fault = error
    stopped = {"hub": hub, "registry": registry_server.stop(store.root), "engine": own_engine.stop(store)}
    if fault:
        raise fault
    print(
        as_json(stopped)
        if as_data
        else ", ".join(f"{k}: {'stopped' if v else 'was not ours'}" for k, v in stopped.items())
    )


def _show(done, as_data: bool) -> None:
    if as_data:
        print(as_json(done))
        return
    for one in done:
        print(f"{one.image}: {one.reference}")
        print(f"  tags    {', '.join(one.tags)}")
        print(f"  sent    {one.bytes_sent / 1e6:,.1f} MB in {one.seconds:.1f} s")
        print(f"  report  {one.report}")


# Further verbs, listed after the pipeline's.


# The verbs that have a file of their own, in the order in which `--help` lists them.
for _name in ("audit", "catalogue", "changed", "delta", "hub", "profiles", "prune", "verify"):
    import_module(f".{_name}", __package__)
