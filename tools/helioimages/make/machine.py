"""The machine that stages work on: its store, and what is connected only when a stage asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
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
        kin: the same computer, which believes more or less, and whose engine this one uses.
    """

    store: Store
    jobs: int
    caches: tuple[Cache, ...] = ()
    credentials: Logins = anonymous
    kin: Machine | None = None

    @cached_property
    def engine(self) -> engine.Engine:
        """The container engine, started if none runs."""
        if self.kin is not None:
            return self.kin.engine
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

    def believing(self, signer: str, good: Callable[[bytes, str], bool]) -> Machine:
        """Return this computer, which believes of caches only what a key signed; one that has a key keeps that.

        Args:
            signer: names the key.
            good: says whether a signature (base64) over bytes is by it.
        """
        if all(cache.good is not None for cache in self.caches):
            return self
        caches = tuple(cache if cache.good else replace(cache, good=good, signer=signer) for cache in self.caches)
        store = Store(self.store.root, travelled=self.store.travelled, signer=signer)
        return replace(self, store=store, caches=caches, kin=self)

    def whole(self) -> Machine:
        """Return this computer without the layers that are lent to it: those are fetched, or made."""
        store = Store(self.store.root, travelled=self.store.travelled, signer=self.store.signer)
        return replace(self, store=store, kin=self)

    def builder(self, checkout: Checkout) -> Builder:
        """Return the builder of a checkout's local channel and source-only packages, as its lock is now.

        It is not kept: healing may write another lock of it.

        Raises:
            HelioError: its lock is missing, or its packages cannot be had.
        """
        return provision.builder(
            checkout.root, self.store, lambda: self.engine.client, jobs=self.jobs, platform=checkout.platform
        )
