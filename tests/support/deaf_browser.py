#!/usr/bin/env python3
"""Run the browser of ``$DEAF_BROWSER``, with these arguments, so that it never hears of this machine's interfaces.

Whenever an address comes or goes, as at each start and end of any container here, Chromium ends all its requests with
ERR_NETWORK_CHANGED, those to loopback too, and no switch of it tells it not to. It hears of it from netlink: without
such sockets it goes on as one that is online for ever. Standard library only: any Python runs it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

#: The number of the system call that makes a socket.
_SOCKET = {"x86_64": 41, "aarch64": 198}
#: Spec: prctl(2), seccomp(2), and the classic BPF of linux/filter.h.
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _FAMILY_AT = 0, 16
_ALLOWED, _REFUSED = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT


def refuse_netlink(number: int) -> None:
    """Let no program that this process becomes or starts make a netlink socket.

    Args:
        number: of the system call `socket` on this processor.
    """
    program = (
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_EQUAL, 0, 3, number),
        (_LOAD, 0, 0, _FAMILY_AT),
        (_IF_EQUAL, 0, 1, socket.AF_NETLINK),
        (_RETURN, 0, 0, _REFUSED),
        (_RETURN, 0, 0, _ALLOWED),
    )
    words = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *word) for word in program))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(words)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_NO_NEW_PRIVS, 1, 0, 0, 0), (_SECCOMP, _FILTER, ctypes.addressof(pointer), 0, 0)):
        if libc.prctl(*map(ctypes.c_ulong, call)):
            raise OSError(ctypes.get_errno(), f"prctl {call[0]}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    if platform.machine() in _SOCKET:
        refuse_netlink(_SOCKET[platform.machine()])
    browser = os.environ["DEAF_BROWSER"]
    os.execv(browser, [browser, *sys.argv[1:]])
