"""A machine that is ready to build: nothing is installed on it for work that will be refused."""

from __future__ import annotations

from collections.abc import Sequence

from ..locks import stale
from ..locks.checkout import Checkout
from ..machine import host


def ready(checkout: Checkout, names: Sequence[str]) -> None:
    """Install what this machine lacks to build images, unless their locks are stale.

    Raises:
        HelioError: a lock is stale and something lacks, or it cannot be installed.
    """
    if host.missing():
        stale.check(checkout, checkout.locks_of(checkout.selected(names)), healed=False, told=False)
    host.ensure()
