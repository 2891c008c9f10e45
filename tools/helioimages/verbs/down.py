"""The verb `down`: stop what this project started."""

from __future__ import annotations

from ..core.errors import HelioError
from ..engines import own_engine, registry_server
from ..engines.hub import server
from ..machine.store import Store, default_root
from .command import Common, verb
from .output import as_json


@verb(images=False)
def down(common: Common) -> None:
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
        if common.as_data
        else ", ".join(f"{k}: {'stopped' if v else 'none of ours'}" for k, v in stopped.items())
    )
