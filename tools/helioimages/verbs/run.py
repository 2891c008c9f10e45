"""The verb `run`: start an image on this machine, with the folder that one stands in."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from ..core.errors import HelioError, Stage
from ..core.progress import say, stage
from ..engines import desk, devices, engine
from ..machine import browser as screen
from ..machine import host
from ..make import images
from ..make.machine import Machine
from ..make.ready import ready
from ..publish import release
from ..publish.holdings import image_of
from . import named_image
from .command import Common, verb
from .output import as_json

#: JupyterLab's own.
_USUAL = 8888


@verb(builds=True)
@click.option("--port", type=click.IntRange(1, 65535), help="On loopback; 8888 by default, or if taken any free one.")
@click.option("--stop", is_flag=True, help="End and remove what `run` started (at --port, if given); start nothing.")
@click.option("--from", "published", metavar="IMAGE", help="A published image: NAME[:TAG], or HOST/NAME[:TAG].")
@click.option("--shell", is_flag=True, help="Open a shell in the image instead of a server.")
@click.option(
    "--notebook",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Run a notebook by papermill; the executed copy NAME-executed.ipynb is beside it.",
)
@click.option("--mount/--no-mount", default=True, show_default=True, help="The current folder, writable, as ~/work.")
@click.option(
    "--browser/--no-browser", default=True, show_default=True, help="Open JupyterLab in the browser, if there is one."
)
@click.option(
    "--gpus", metavar="COUNT", help="NVIDIA GPUs: a number, `all` or `none`; without it, those that the engine has."
)
def run(
    common: Common,
    port: int | None,
    stop: bool,
    published: str | None,
    shell: bool,
    notebook: Path | None,
    mount: bool,
    browser: bool,
    gpus: str | None,
) -> None:
    """Start an image locally (the hubs' default one if none is named) and print its address.

    The current folder is in it as ~/work, and what is written there is its owner's.
    """
    if stop:
        ended = engine.running(common.machine().store)
        number = ended.end_served(port) if ended else 0
        print(as_json({"stopped": number}) if common.as_data else f"{number} stopped" if number else "nothing runs")
        return
    _check(common, published, shell, notebook, mount)
    devices.check(gpus)
    if port and not host.is_free(port):
        raise HelioError(
            Stage.USAGE,
            f"port {port} of 127.0.0.1 is taken",
            hint="choose another --port, or leave it out to have any free one",
        )
    machine = common.machine()
    name, reference = _published(common, machine, published) if published else _built(common, machine)
    with stage(f"pull {name}"):
        work = desk.desk(machine.engine, reference, Path.cwd() if mount else None)
    if gpus is None:
        gpus = devices.present(machine.engine.client, machine.engine.address)
        if gpus:
            say("    with the GPUs of this machine (--gpus none: without)")
    if shell:
        raise SystemExit(desk.shell(machine.engine, work, gpus))
    if notebook is not None:
        _execute(machine, work, notebook, gpus)
        return
    address = machine.engine.serve(reference, port=port or _port(), gpus=gpus, desk=work.server())
    print(as_json({"image": name, "reference": reference, "address": address}) if common.as_data else address)
    if browser and not common.as_data:
        screen.show(address)


def _check(common: Common, published: str | None, shell: bool, notebook: Path | None, mount: bool) -> None:
    """Refuse words that contradict each other, before any work."""
    if len(common.names) > 1:
        raise HelioError(
            Stage.USAGE,
            "`run` starts one image",
            detail=f"expected one name not {len(common.names)}: {', '.join(common.names)}",
            hint=f"buildimages run {common.names[-1]}",
        )
    if published and common.names:
        raise HelioError(
            Stage.USAGE, "`run` starts one image", detail=f"expected either {common.names[0]} or --from {published}"
        )
    if published:
        named_image.check(published)
    if shell and notebook:
        raise HelioError(Stage.USAGE, "`--shell` and `--notebook` go apart", detail="expected one of them")
    if notebook is not None and (not mount or Path.cwd() not in notebook.resolve().parents):
        raise HelioError(
            Stage.USAGE,
            f"`{notebook}` is not in the folder that the image gets",
            detail=f"expected a notebook below {Path.cwd()}, without --no-mount",
            hint=f"cd {notebook.resolve().parent}",
        )


def _built(common: Common, machine: Machine) -> tuple[str, str]:
    """Return name and reference of an image of the checkout, built and pushed to the embedded registry."""
    checkout = common.checkout()
    default = [name for name, image in checkout.images.items() if image.hub.default]
    # Without a default, the last is the one with the most in it.
    name = checkout.selected(common.names or default)[-1]
    ready(checkout, (name,))
    built = images.build(checkout, machine, (name,))[name]
    with release.connect(machine.store, None) as client:
        return name, release.push_built(client, machine, built, "").reference


def _published(common: Common, machine: Machine, text: str) -> tuple[str, str]:
    """Return name and reference by digest of an image of a registry; a short name is of the embedded one."""
    host.ensure_engine(registry=not named_image.is_whole(text))
    with named_image.reached(machine, text, None) as (client, reference):
        image = image_of(client, reference, common.platform)
        return reference.repository, f"{client.host}/{reference.repository}@{image.digest}"


def _execute(machine: Machine, work: desk.Desk, notebook: Path, gpus: str | None) -> None:
    """Run a notebook where it lies, and leave the executed copy beside it."""
    inside = notebook.resolve().relative_to(Path.cwd())
    out = inside.with_name(f"{inside.stem}-executed.ipynb")
    argv = ["python", "-m", "papermill", "--no-progress-bar", "--log-output", str(inside), str(out)]
    code = desk.command(machine.engine, work, [*argv, "--cwd", str(inside.parent)], gpus)
    if code:
        raise HelioError(
            Stage.SMOKE,
            f"`{notebook}` failed",
            detail=f"papermill ended with exit status {code}",
            hint=f"{out} has the cells up to the error" if out.exists() else "",
        )
    say(f"executed: {out}")
    print(out)


def _port() -> int:
    """Return the usual port or, said, another one that is free."""
    if host.is_free(_USUAL):
        return _USUAL
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    say(f"    port {_USUAL} is taken, so {port}")
    return port
