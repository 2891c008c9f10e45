"""Links that start a server with an image and a size, and open a notebook, at jupyterhub-fancy-profiles. Pure.

They name the choices of the ``profileList`` that `profiles` makes, so the hub must offer that one.

Spec: jupyterhub-fancy-profiles 0.7, "permalinks": ``fancy-forms-config`` in the fragment of ``/hub/spawn``; JupyterHub,
``next``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

_CONFIG = "fancy-forms-config"


def link(hub: str, chosen: Mapping[str, str], notebook: str = "") -> str:
    """Return a link.

    Args:
        hub: its address, e.g. ``https://hub.example.org``.
        chosen: ``profile``, and the name of a choice for each of its options.
        notebook: a path in the home, opened when the server runs; empty opens what the server opens.

    >>> link("https://hub.example.org/", {"profile": "cpu"})
    'https://hub.example.org/hub/login?next=/hub/spawn%23fancy-forms-config%3D%257B%2522profile%2522%253A%2522cpu%2522%257D'
    """
    config = quote(json.dumps(chosen, separators=(",", ":")), safe="")
    then = f"?next={quote(f'/hub/user-redirect/lab/tree/{quote(notebook)}', safe='')}" if notebook else ""
    return f"{hub.rstrip('/')}/hub/login?next={quote(f'/hub/spawn{then}#{_CONFIG}={config}')}"


def as_text(made: Sequence[Mapping[str, Any]], hub: str, notebook: str = "") -> str:
    """Return the links of all images and sizes, each below what it starts.

    Args:
        made: of `profiles.profile_list`.
    """
    return "".join(f"{title}\n  {address}\n" for title, address in _links(made, hub, notebook))


def _links(made: Sequence[Mapping[str, Any]], hub: str, notebook: str) -> Iterator[tuple[str, str]]:
    for profile in made:
        options = profile["profile_options"]
        for image, offer in options["image"]["choices"].items():
            for size, resources in options["resources"]["choices"].items():
                chosen = {"profile": profile["slug"], "image": image, "resources": size, "autoStart": "true"}
                yield f"{offer['display_name']}, {resources['display_name']}", link(hub, chosen, notebook)
