"""Debian's layers, made beside everything else: a root file system is the work of one processor, however many are here.

They begin when their packages are here, before there is an interpreter, and several are made at once; one processor is
left to the local channel, which everybody waits for and which has a root file system of its own to compile in. The rest
begin one by one as images are made: until then what the first image needs has the processors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path

from ..core import threads
from ..machine.processes import Waited
from ..machine.store import Store
from ..oci.layer import Layer
from . import debian_layers, linking, own_files
from .plan import ImagePlan, LayerKind, LayerPlan
from .rootfs import RootfsWorks


class Systems:
    """The Debian layers that a run makes: ``layers``, by key.

    Args:
        pool: they are made in its threads.
        programs: what these wait for.
        jobs: threads that read packages, or compress.
    """

    def __init__(self, store: Store, pool: Executor, programs: Waited, *, jobs: int) -> None:
        self._store, self._pool, self._programs, self._jobs = store, pool, programs, jobs
        self._later: list[Callable[[], None]] = []
        self.layers: dict[str, Future[Layer]] = {}

    def begin(self, missing: Iterable[tuple[ImagePlan, LayerPlan]], debs: Mapping[str, Path]) -> None:
        """Begin with the Debian layers that are missing: one less than there are processors, the others at `go_on`.

        Args:
            missing: layers with their images, parents first; those of other kinds are passed over.
            debs: sha256 (hex) -> file, of every package of the images and their parents.
        """
        works = RootfsWorks(store=self._store, debs=debs, jobs=self._jobs, programs=self._programs)
        plans = {layer.key: plan for plan, layer in missing if layer.kind is LayerKind.DEBIAN}
        for at, (key, plan) in enumerate(plans.items()):
            make = partial(self._make, works, plan, key)
            if at < max(1, self._jobs - 1):
                make()
            else:
                self._later.append(make)

    def go_on(self) -> None:
        """Begin with the next of the others; called before an image is made, at least, but for the first."""
        if self._later:
            self._later.pop(0)()

    def _make(self, works: RootfsWorks, plan: ImagePlan, key: str) -> None:
        if key not in self.layers:
            self.layers[key] = self._pool.submit(_made, works, plan, key)


@contextlib.contextmanager
def beside(store: Store, *, jobs: int) -> Iterator[Systems]:
    """Yield what makes Debian layers in threads of its own; when the block ends, so do they."""
    programs = Waited()
    with threads.pool(jobs - 1, end=programs.end) as pool:
        yield Systems(store, pool, programs, jobs=jobs)


def _made(works: RootfsWorks, plan: ImagePlan, key: str) -> Layer:
    below = plan.parent.locks.apt if plan.parent else None
    entries = tuple(debian_layers.entries(works, plan.locks.apt, below, plan.account))
    layer = linking.write(works.store, key, entries, jobs=works.jobs)
    # An image's own files ask for them; who reads them out of the layer waits for seconds.
    own_files.remember_shape(works.store, key, layer.digest, entries)
    return layer
