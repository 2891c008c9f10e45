"""What people write in a checkout, as tests of small checkouts have it."""

from __future__ import annotations

from collections.abc import Sequence

#: A package of a local channel that is a library of Debian's, of a file recipes.toml.
LIBZLIB = """
[[package]]
name = "libzlib"
debian = ["zlib1g"]
files = ["usr/lib/*/libz.so.*"]
to = "lib"
license = "Zlib"
summary = "Deflate"
home = "https://zlib.net/"
"""


def environment_yml(name: str, conda: Sequence[str], pypi: Sequence[str] = (), *, ours: str = "") -> str:
    """Return the text of an environment.yml of the local channel.

    Args:
        ours: more lines below ``x-helioimages``, each with its end.
    """
    rows = "".join(f"  - {spec}\n" for spec in conda)
    rows += "".join(("  - pip:\n", *(f"      - {requirement}\n" for requirement in pypi))) if pypi else ""
    below = f'x-helioimages:\n  virtual-packages: {{__glibc: "2.41"}}\n{ours}'
    return f"name: {name}\nchannels: [local]\ndependencies:\n{rows}{below}"


def image_toml(name: str, *debian: str, parent: str | None = None) -> str:
    """Return the text of an image.toml that says what it must, and which Debian packages it asks for."""
    line = f'parent = "{parent}"\n' if parent else ""
    head = f'name = "{name}"\ntitle = "T"\ndescription = "D"\nenvironment = "{name}"\n{line}'
    packages = ", ".join(f'"{package}"' for package in debian)
    return f"{head}\n[debian]\npackages = [{packages}]\n"
