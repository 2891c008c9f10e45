"""A checkout and this machine in one value, for tests that want an image and no verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helioimages.engines.engine import Engine
from helioimages.locks.checkout import Checkout
from helioimages.machine.store import Store
from helioimages.make import images
from helioimages.make.building import Built
from helioimages.make.machine import Machine
from helioimages.oci.registry import Registry
from helioimages.publish import push, release


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A checkout, and the machine that it is built on."""

    checkout: Checkout
    machine: Machine

    @classmethod
    def of(cls, root: Path, store: Store, *, jobs: int = 1) -> Workspace:
        """Return the workspace of a checkout and a store."""
        return cls(checkout=Checkout.of(root), machine=Machine(store=store, jobs=jobs))

    @property
    def root(self) -> Path:
        """The checkout's folder."""
        return self.checkout.root

    @property
    def store(self) -> Store:
        """The machine's store."""
        return self.machine.store

    @property
    def engine(self) -> Engine:
        """The container engine, started if none runs."""
        return self.machine.engine

    def build(self, names: Sequence[str]) -> dict[str, Built]:
        """Build images after their ancestors."""
        return images.build(self.checkout, self.machine, names)

    def registry(self, host: str | None) -> Registry:
        """Return a client of a registry, of the embedded one if no host is given."""
        return release.connect(self.store, host)

    def push(self, client: Registry, built: Built, prefix: str) -> push.PushReport:
        """Push an image by digest."""
        return release.push_built(client, self.machine, built, prefix)
