"""A person at a hub: logs in with the form, chooses an image, opens a kernel and a terminal, pulls a repository.

Everything goes through the hub's proxy, as from a browser: HTTP with cookies and XSRF tokens, and websockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import aiohttp
import yarl


class Person:
    """One logged-in user of a hub."""

    def __init__(self, session: aiohttp.ClientSession, address: str, name: str) -> None:
        self._session, self._hub, self._name = session, yarl.URL(address), name
        self._token = ""

    @property
    def _server(self) -> yarl.URL:
        return self._hub / "user" / self._name

    def _xsrf(self) -> str:
        return self._session.cookie_jar.filter_cookies(self._hub / "hub" / "")["_xsrf"].value

    async def login(self, password: str) -> bool:
        """Fill in the login form, and return whether the hub let the person in."""
        async with self._session.get(self._hub / "hub" / "login"):
            form = {"username": self._name, "password": password, "_xsrf": self._xsrf()}
        async with self._session.post(self._hub / "hub" / "login", data=form, allow_redirects=False) as answer:
            if answer.status != 302:
                return False
        # The token of the forms belongs to a session, which is another one now.
        async with self._session.get(self._hub / "hub" / "token") as answer:
            assert answer.status == 200
        async with self._session.post(
            self._hub / "hub" / "api" / "users" / self._name / "tokens",
            json={"note": "kernels and terminals"},
            headers={"X-XSRFToken": self._xsrf(), "Referer": str(self._hub / "hub" / "token")},
        ) as answer:
            assert answer.status == 201, await fault(answer)
            self._token = (await answer.json())["token"]
        return True

    async def choices(self) -> str:
        """Return the page on which an image is chosen."""
        async with self._session.get(self._hub / "hub" / "spawn") as answer:
            return await answer.text()

    async def spawn(self, choice: str) -> None:
        """Send the form with a choice, and wait until the server is ready."""
        form = {"image": choice, "_xsrf": self._xsrf()}
        async with self._session.post(self._hub / "hub" / "spawn", data=form, allow_redirects=False) as answer:
            assert answer.status == 302, await fault(answer)
        async with self._call("GET", self._hub / "hub" / "api" / "users" / self._name / "server" / "progress") as said:
            async for line in said.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    assert not event.get("failed"), event
                    if event.get("ready"):
                        return
        raise AssertionError("the hub told no end of the spawn")

    async def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        mine = self._hub / "hub" / "api" / "users" / self._name
        async with self._call("DELETE", mine / "server") as answer:
            assert answer.status in (202, 204), await fault(answer)
        for _ in range(300):
            async with self._call("GET", mine) as answer:
                if not (await answer.json())["servers"]:
                    return
            await asyncio.sleep(0.1)
        raise AssertionError("the server did not stop")

    async def run(self, code: str) -> str:
        """Run a cell in a new kernel and return what it printed; its error, if it raised one."""
        async with self._call("POST", self._server / "api" / "kernels", json={"name": "python3"}) as answer:
            assert answer.status == 201, await fault(answer)
            kernel = (await answer.json())["id"]
        message = {
            "header": {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3", "session": "x"},
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "stop_on_error": True},
            "channel": "shell",
            "buffers": [],
        }
        printed = []
        at = self._server / "api" / "kernels" / kernel
        async with self._session.ws_connect(at / "channels", headers=self._right(), max_msg_size=1 << 24) as socket:
            await socket.send_json(message)
            async for frame in socket:
                said = json.loads(frame.data)
                if said["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                    continue
                content = said["content"]
                if said["msg_type"] == "stream" and content["name"] == "stdout":
                    printed.append(content["text"])
                elif said["msg_type"] == "error":
                    printed.append("\n".join(content["traceback"]))
                elif said["msg_type"] == "status" and content["execution_state"] == "idle":
                    break
        async with self._call("DELETE", at):
            return "".join(printed)

    async def terminal(self, command: str, end: str) -> str:
        """Type a command into a new terminal and return what the screen shows, up to a word."""
        async with self._call("POST", self._server / "api" / "terminals") as answer:
            assert answer.status == 200, await fault(answer)
            name = (await answer.json())["name"]
        screen = ""
        at = self._server / "terminals" / "websocket" / name
        async with self._session.ws_connect(at, headers=self._right()) as socket:
            await socket.send_json(["stdin", f"{command}\r"])
            async for frame in socket:
                kind, *rest = json.loads(frame.data)
                if kind == "stdout":
                    screen += rest[0]
                    if end in screen:
                        break
        async with self._call("DELETE", self._server / "api" / "terminals" / name):
            return screen

    async def pull(self, repository: str) -> list[dict]:
        """Follow an nbgitpuller link, and return what nbgitpuller tells its page."""
        query = {"repo": repository, "branch": "main", "targetpath": "course"}
        async with self._call("GET", (self._server / "git-pull" / "api").with_query(query)) as answer:
            assert answer.status == 200, await fault(answer)
            return [json.loads(line[5:]) async for line in answer.content if line.startswith(b"data:")]

    async def contents(self, path: str) -> str:
        """Return a file of the home through the contents API."""
        async with self._call("GET", self._server / "api" / "contents" / path) as answer:
            assert answer.status == 200, await fault(answer)
            return (await answer.json())["content"]

    def _call(self, method: str, url: yarl.URL, **options):
        return self._session.request(method, url, headers=self._right(), **options)

    def _right(self) -> dict[str, str]:
        return {"Authorization": f"token {self._token}"}


async def fault(answer: aiohttp.ClientResponse) -> str:
    """Return what an answer says, without the page around it."""
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", "", await answer.text(), flags=re.DOTALL)
    return f"{answer.status} {answer.url}: {' '.join(text.split())}"


@contextlib.asynccontextmanager
async def person(address: str, name: str) -> AsyncIterator[Person]:
    """Yield somebody who has opened the hub's address and not yet logged in."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address in numbers
    timeout = aiohttp.ClientTimeout(total=None, sock_read=90)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout) as session:
        yield Person(session, address, name)


def listening(pids: Iterable[int]) -> set[str]:
    """Return the addresses at which processes and their descendants accept connections.

    Spec: proc(5), /proc/net/tcp: local address in hexadecimal, state 0A, inode.
    """
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, parent = int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    inodes: set[str] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    ports = set()
    for family, name in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and fields[9] in inodes:
                raw = bytes.fromhex(fields[1].partition(":")[0])
                words = [
                    raw[at : at + 4][::-1] if sys.byteorder == "little" else raw[at : at + 4]
                    for at in range(0, len(raw), 4)
                ]
                ports.add(socket.inet_ntop(family, b"".join(words)))
    return ports
