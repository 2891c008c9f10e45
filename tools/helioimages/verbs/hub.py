"""The verb `hub`: try the published images in a real JupyterHub on this machine."""

from __future__ import annotations

import dataclasses
import secrets
import shlex
import time
from pathlib import Path

import click

from ..catalogue import hub_form
from ..catalogue import profiles as profiling
from ..catalogue.model import document
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..core.words import count
from ..engines import logins
from ..engines.hub import parts as hub_parts
from ..engines.hub import server
from ..locks.checkout import Checkout
from ..machine import host
from ..machine.store import default_root
from ..make.machine import Machine
from . import options
from .catalogue import CatalogueOptions, read, write_site
from .command import Common, verb
from .output import as_json


@verb
@options.registry
@options.prefix
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="On loopback; 0 is any.")
@click.option("--password", default="", envvar="HELIOIMAGES_HUB_PASSWORD", help="For every user; made by default.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="For settings and logs, in the store by default; homes and hubs differ by folder.",
)
@click.option("--detach", is_flag=True, help="Return at once; end it with --stop.")
@click.option("--stop", is_flag=True, help="End the hub, its proxies and its users' servers; homes stay.")
@click.option("--delete-homes", is_flag=True, help="Delete what users of this folder's hubs saved; none may run.")
def hub(
    common: Common,
    registry: str | None,
    prefix: str,
    port: int,
    password: str,
    folder: Path | None,
    detach: bool,
    stop: bool,
    delete_homes: bool,
) -> None:
    """Start a JupyterHub on this machine with the published images; Ctrl-C ends it.

    Servers are containers, by digest; homes are volumes. Dask Gateway starts clusters of the same image.
    """
    folder = (folder or server.default_folder(default_root())).resolve()
    if stop:
        ended = _stop(folder)
        print(as_json({"stopped": ended}) if common.as_data else "stopped" if ended else "no hub runs")
        return
    if delete_homes:
        gone = server.delete_homes(folder, common.machine().engine.address)
        print(as_json({"deleted": list(gone)}) if common.as_data else f"{count(len(gone), 'home')} deleted")
        return
    server.check_password(password)
    if (runs := server.read(folder)) is None or not runs.running:
        server.check_port(port)
    host.ensure()
    checkout, machine = common.checkout(), common.machine()
    wanted = CatalogueOptions(names=common.names, host=registry, prefix=prefix)
    choice = offered(checkout, machine, wanted, folder / server.CATALOGUE)
    parts = hub_parts.parts(machine.store)
    running = server.start(folder, parts, choice, engine=machine.engine.address, port=port, password=password)
    if common.as_data:
        row = {"address": running.address, "password": running.password, "name": running.name, "folder": str(folder)}
        print(as_json(row))
    else:
        print(f"{running.address}  (any user name; password: {running.password})", flush=True)
    if not detach:
        say("Ctrl-C ends it.")
        _follow(running, folder)


def offered(
    checkout: Checkout, machine: Machine, wanted: CatalogueOptions, pages: Path | None = None
) -> server.HubOffer:
    """Return what a registry offers as the hub's configuration, by digest.

    Args:
        pages: a folder for the pages that say what is in the images; None for none.

    Raises:
        HelioError: nothing is left to offer.
    """
    read_all = write_site(checkout, machine, wanted, pages) if pages else read(checkout, machine, wanted)
    whole = document(read_all)
    word = secrets.token_urlsafe(16) if pages else ""
    pinned = tuple(map(by_digest, profiling.offers(whole, checkout.images)))
    sizes = hub_form.sizes(pinned, checkout.images)
    form = hub_form.form(pinned, whole, sizes.values(), catalogue=f"/hub/catalogue/{word}" if word else "")
    names = [offer.image for offer in pinned if offer.image in checkout.images]
    known = [checkout.images[name] for name in checkout.with_ancestors(names)]
    homes = {image.user.home for image in known if image.user}
    if len(homes) > 1:
        raise HelioError(Stage.SPEC, "images of one hub need one home", detail=f"not {', '.join(sorted(homes))}")
    return server.HubOffer(
        images=profiling.as_dockerspawner(pinned) + f"c.DockerSpawner.options_form = {form!r}\n",
        catalogue=word,
        sizes={name: {"memory": size.memory_limit, "cpus": size.cpu_limit} for name, size in sizes.items()},
        gateway=profiling.gateway_code(pinned),
        home=homes.pop() if homes else "/home/jovyan",
        logins=logins.of(machine.credentials, (choice.plain.partition("@")[0] for choice in pinned)),
    )


def by_digest(offer: profiling.Offer) -> profiling.Offer:
    """Return an offer whose only name is ``host/name@digest``."""
    reference = f"{offer.plain.rpartition(':')[0]}@{offer.reference.partition('@')[2]}"
    return dataclasses.replace(offer, reference=reference, plain=reference)


def _follow(running: server.Hub, folder: Path) -> None:
    try:
        while running.running:
            time.sleep(0.5)
        detail = server.log_tail(folder)
    except KeyboardInterrupt:
        _stop(folder)
        return
    _stop(folder)
    raise HelioError(Stage.HOST, "the hub ended by itself", detail=detail, hint=f"look into the logs in {folder}")


def _stop(folder: Path) -> bool:
    ended = server.stop(folder)
    if ended is None:
        return False
    if kept := server.volumes(ended):
        # Not by the engine's own client, which need not be here.
        usual = folder == server.default_folder(default_root()).resolve()
        where = "" if usual else f" --folder {shlex.quote(str(folder))}"
        say(f"{count(len(kept), 'home')} kept; delete what people saved: buildimages hub --delete-homes{where}")
    return True
