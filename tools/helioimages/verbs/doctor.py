"""The verb `doctor`: what this machine has and lacks."""

from __future__ import annotations

import sys

from ..core.errors import HelioError
from ..engines import doctor as doctoring
from ..machine import host
from ..machine.store import Store, default_root
from .command import Common, verb
from .output import as_json


@verb(images=False)
def doctor(common: Common) -> None:
    """Say what this machine has and lacks for `up`, and the command that mends each lack.

    Disk space, programs, the package index, the Debian mirror, the engine and the registry are tried; nothing is
    started or installed.
    """
    root, facts = default_root(), host.facts()
    try:
        checks = doctoring.checks(Store(root))
    except HelioError as error:
        # A store that cannot be made: nothing works before that is mended.
        checks = (doctoring.unwritable(root, error.detail),)
    mend = doctoring.mend(checks)
    if common.as_data:
        needs = {check.name: {"ok": check.ok, "found": check.found} for check in checks}
        print(as_json({"facts": facts, "needs": needs, "mend": mend}))
    else:
        for key, value in (*facts.items(), *((check.name, check.found) for check in checks)):
            print(f"{key:<24}{value}")
        print("\nnothing lacks" if not mend else "\nmend it:\n" + "\n".join(f"  {line}" for line in mend))
    sys.exit(11 if mend else 0)
