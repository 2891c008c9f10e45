"""A way out for a network namespace: a pair of virtual devices, and translation of its addresses to this machine's."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# Set aside for tests of devices (RFC 2544): nobody's machines are there.
_SPACE = ipaddress.IPv4Network("198.18.0.0/15")


class NoNetworkError(Exception):
    """This machine cannot give another network namespace a way out."""


def free_subnet(taken: Iterable[str], start: int) -> ipaddress.IPv4Network:
    """Return four addresses that no route of this machine leads to.

    Args:
        taken: destinations of routes, as `ip` writes them.
        start: where to begin to look: two bare machines at once look at different places.

    Raises:
        NoNetworkError: all are taken.
    """
    used = [ipaddress.IPv4Network(route, strict=False) for route in taken if route != "default" and ":" not in route]
    number = _SPACE.num_addresses // 4
    for step in range(number):
        offset = (start + step) % number * 4
        subnet = ipaddress.IPv4Network((int(_SPACE.network_address) + offset, 30))
        if not any(subnet.overlaps(other) for other in used if other.prefixlen):
            return subnet
    raise NoNetworkError(f"routes lead to all of {_SPACE}")


@contextlib.contextmanager
def way_out(pid: int, name: str) -> Iterator[None]:
    """Give the network namespace of a process a device `eth0` that leads out, and take it away in the end.

    Args:
        name: of the firewall's rules, to be known by people.

    Raises:
        NoNetworkError: a program is missing, or the kernel refuses.
    """
    routes = json.loads(_run("ip", "-json", "-4", "route", "show", "table", "all"))
    subnet = free_subnet((route["dst"] for route in routes), pid)
    ours, theirs = (f"{address}/{subnet.prefixlen}" for address in subnet.hosts())
    device = f"bare{pid}"[:15]
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
    with contextlib.ExitStack() as undo:
        _run(
            "ip",
            "link",
            "add",
            device,
            "mtu",
            str(_mtu(routes)),
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(pid),
        )
        # It goes with the namespace by itself; here for one that never came to life.
        undo.callback(_undo, "ip", "link", "delete", device)
        _run("ip", "address", "add", ours, "dev", device)
        _run("ip", "link", "set", device, "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "address", "add", theirs, "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "mtu", str(_mtu(routes)), "up")
        _run(*inside, "route", "add", "default", "via", ours.partition("/")[0])
        note = ("-m", "comment", "--comment", name)
        answers = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
        for table, chain, *rule in (
            ("nat", "POSTROUTING", "-s", str(subnet), "!", "-o", device, *note, "-j", "MASQUERADE"),
            ("filter", "FORWARD", "-i", device, *note, "-j", "ACCEPT"),
            ("filter", "FORWARD", "-o", device, *answers, *note, "-j", "ACCEPT"),
        ):
            _run("iptables", "-w", "-t", table, "-I", chain, *rule)
            undo.callback(_undo, "iptables", "-w", "-t", table, "-D", chain, *rule)
        before = _FORWARD.read_text()
        if before.strip() != "1":
            _FORWARD.write_text("1\n")
            undo.callback(_FORWARD.write_text, before)
        yield


def _mtu(routes: Iterable[dict[str, object]]) -> int:
    """Return the largest packet that goes out undivided."""
    device = next((str(route["dev"]) for route in routes if route["dst"] == "default" and "dev" in route), "")
    path = Path("/sys/class/net") / device / "mtu"
    return int(path.read_text()) if device and path.exists() else 1500


def _undo(*argv: str) -> None:
    """Run what takes back a step; one that was taken back already is no fault."""
    with contextlib.suppress(NoNetworkError):
        _run(*argv)


def _run(*argv: str) -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(argv, capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False)
    except FileNotFoundError as error:
        raise NoNetworkError(f"`{argv[0]}` is missing") from error
    if done.returncode:
        raise NoNetworkError(f"`{' '.join(argv)}` fails: {done.stderr.strip()}")
    return done.stdout
