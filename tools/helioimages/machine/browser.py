"""The browser of the person at this machine, where there is a person and a screen."""

from __future__ import annotations

import contextlib
import os
import sys
import webbrowser
from collections.abc import Mapping


def has_screen(environment: Mapping[str, str], system: str) -> bool:
    """Say whether a browser could show itself: on Linux, where a display is named; else always.

    Without one, `webbrowser` would start a browser of text in the terminal, or wait for one.
    """
    return system != "linux" or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def show(address: str) -> bool:
    """Open an address in the person's browser, and say whether one was asked; never an error, for the address is told.

    Nothing is opened for a program: where stdout is not a terminal.
    """
    if not sys.stdout.isatty() or not has_screen(os.environ, sys.platform):
        return False
    with contextlib.suppress(webbrowser.Error, OSError):
        return webbrowser.open(address)
    return False
