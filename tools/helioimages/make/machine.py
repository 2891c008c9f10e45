"""The machine that stages work on: its store, and what is connected only when a stage asks for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

from ..cache.access import Cache
from ..engines import engine
from ..engines.logins import Logins
from ..locks.checkout import Checkout
from ..machine.store import Store
from ..oci.transport import anonymous
from ..pypi import resolve
from ..pypi.index import PackageIndex
from . import provision
from .builder import Builder

#: Threads ask for the engine at once, and only one of them may start it.
_CONNECTING = threading.Lock()


# No slots: `cached_property` keeps what it made in the instance's dict.
@dataclass(frozen=True, kw_only=True)
class Machine:
    """This computer.

    Attributes:
        store: where everything that was fetched or made is kept.
        jobs: processes and downloads at once.
        caches: where layers and packages are looked for before they are made or fetched, in this order.
        credentials: logins of registries that the engine pulls from, by ``host/repository``.
    """

    store: Store
    jobs: int
    caches: tuple[Cache, ...] = ()
    credentials: Logins = anonymous

    @cached_property
    def engine(self) -> engine.Engine:
        """The container engine, started if none runs."""
        with _CONNECTING:
            if "engine" not in self.__dict__:
                self.__dict__["engine"] = engine.connect(self.store, self.credentials)
            made: engine.Engine = self.__dict__["engine"]
            return made

    @cached_property
    def index(self) -> PackageIndex:
        """The configured package index."""
        return PackageIndex(resolve.places(), self.store.root / "cache" / "index")

    def abandon(self) -> None:
        """Remove the containers that this process waits for, if it ever spoke to an engine: it was interrupted."""
        if made := self.__dict__.get("engine"):
            made.abandon()

    def builder(self, checkout: Checkout) -> Builder:
        """Return the builder of a checkout's local channel and source-only packages, as its lock is now.

        It is not kept: healing may write another lock of it.

        Raises:
            HelioError: its lock is missing, or its packages cannot be had.
        """
        return provision.builder(
            checkout.root, self.store, lambda: self.engine.client, jobs=self.jobs, platform=checkout.platform
        )
