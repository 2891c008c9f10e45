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

#: An image.toml with every key.
WHOLE_IMAGE = """\
name = "x"
title = "t"
description = "d"
environment = "x"
parent = "y"
licenses = "MIT"
[debian]
packages = ["bash", "libstdc++6"]
[user]
name = "jovyan"
uid = 1000
gid = 1000
groups = ["users"]
home = "/home/jovyan"
shell = "/bin/bash"
[[dirs]]
path = "usr/local/idl"
mode = "1755"
uid = 1000
gid = 0
[config]
workdir = "/home/jovyan"
entrypoint = ["/srv/start"]
cmd = ["jupyter"]
ports = ["8888/tcp"]
[config.env]
PATH = "/bin"
[config.labels]
"org.example.a" = "b c"
[layers]
alone-mib = 9
buckets = 12
small-buckets = 3
[budget]
compressed-mib = 900
[build]
heavy = true
[smoke]
memory = "4g"
timeout = 300
cpus = 1.5
[hub]
slug = "x"
title = "X"
tags = 3
sizes = ["small"]
[hub.resources.big]
title = "Big"
memory-guarantee = "32G"
memory-limit = "32G"
cpu-guarantee = 4
cpu-limit = 8.5
gpus = 1
node-selector = { "nvidia.com/gpu.present" = "true" }
tolerations = ["nvidia.com/gpu:NoSchedule"]
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
