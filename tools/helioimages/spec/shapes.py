"""What texts in environment.yml, image.toml and their neighbours look like, and how errors call it. Pure."""

from __future__ import annotations

from ..core.reading import Shape

#: What an environment or an image may be called.
NAME = Shape.of(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "lower-case letters, digits and dashes (at most 63)")
#: What people choose by, in names of Kubernetes. Spec: JupyterHub, profile choices.
SLUG = Shape.of(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", "lower-case letters, digits and dashes (at most 40)")
#: Becomes a label, a heading, a line of a list.
LINE = Shape.of(r"(?=.*\S)[^\x00-\x1f\x7f\u0085\u2028\u2029]+", "one line of text")
#: An argument or a variable's value. Spec: execve(2): a NUL ends it.
WORD = Shape.of(r"[^\0]*", "a text without NUL")
#: Spec: POSIX, Base Definitions 8.1.
VARIABLE = Shape.of(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name")
#: Spec: OCI image-spec, annotations.md.
LABEL = Shape.of(r"[^\s\x00-\x1f\x7f]+", "a label's name")
#: Spec: Debian policy 5.6.1.
DEBIAN = Shape.of(r"[a-z0-9][a-z0-9+.-]+", "a Debian package name")
#: Spec: adduser.conf(5), NAME_REGEX.
ACCOUNT = Shape.of(r"[a-z_][a-z0-9_-]{0,31}", "an account's name (lower-case letters, digits, - and _, at most 32)")
_PART = r"(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f]+"
#: An absolute path of an image that leads nowhere else.
ABSOLUTE = Shape.of(rf"/|(?:/{_PART})+", "an absolute path without . and ..")
#: A path below a folder, written with or without its first slash.
BELOW = Shape.of(rf"/?{_PART}(?:/{_PART})*/?", "a path without . and ..")
#: Names that are relative, e.g. to the prefix.
RELATIVE = Shape.of(rf"{_PART}(?:/{_PART})*", "a relative path without . and ..")
MODE = Shape.of(r"0?[0-7]{3,4}", "a mode such as 0755")
#: Spec: OCI image-spec, config.md, ExposedPorts.
PORT = Shape.of(
    r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])(?:/(?:tcp|udp|sctp))?",
    "a port such as 8888/tcp",
)
#: Spec: Docker, "Runtime constraints on resources", --memory: at least 6 MiB.
MEMORY = Shape.of(
    r"[1-9][0-9]*[gG]|(?:[6-9]|[1-9][0-9]+)[mM]|(?:614[4-9]|61[5-9][0-9]|6[2-9][0-9]{2}|[7-9][0-9]{3}|[1-9][0-9]{4,})[kK]",
    "a size such as 6g or 512m (at least 6m)",
)
#: Spec: PyPA, "Names and normalization".
DISTRIBUTION = Shape.of(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "a distribution's name")
#: Spec: CEP 26, "Name": conda's may begin with an underscore.
PACKAGE = Shape.of(r"[A-Za-z0-9_][A-Za-z0-9._-]*", "a package's name")
CHANNEL = Shape.of(r"[^\s\x00-\x1f\x7f]+", "a channel's name")
#: Spec: CEP 30, "Virtual packages".
VIRTUAL = Shape.of(r"__[a-z0-9_]+", "a virtual package such as __glibc")
VERSION = Shape.of(r"[0-9A-Za-z][0-9A-Za-z._+!-]*", "a version")
ADDRESS = Shape.of(r"https://[^\s\x00-\x1f\x7f]+", "an address that begins with https://")
CLOBBER = Shape.of(r"\S+ over \S+(?:, \S+)*", "`winner over loser, loser`")
#: Spec: Kubernetes, "Labels and Selectors": syntax and character set.
NODE_KEY = Shape.of(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", "a label of nodes"
)
NODE_VALUE = Shape.of(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", "a label's value (at most 63)")

#: The largest user and group: the last one means "as it is". Spec: chown(2).
LARGEST_ID = 2**32 - 2
