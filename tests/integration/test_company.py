"""docs/network.md: an image on top of ours, built and used behind a proxy that reads HTTPS."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from company import Company, company
from debian_support import needs
from git_support import commit, git_server
from pages import blocks
from pypi_support import serving, wheel_bytes

from helioimages.engines.engine import Engine

pytestmark = [pytest.mark.engine]
PAGE = "docs/network.md"
BUILD = "docker build --tag base-of-company --build-arg HTTPS_PROXY --build-arg NO_PROXY company"
TAG = "helioimages-test-company"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Run the company's network: an index with sgp4, and a git server."""
    needs("docker", "git")
    folder = tmp_path_factory.mktemp("company")
    commit(folder / "git" / "work.git", "a.txt", "of the company\n")
    with serving() as index, git_server(folder / "git") as git:
        index.add("sgp4-1.0-py3-none-any.whl", wheel_bytes({"sgp4.py": b"x = 1\n"}, name="sgp4"))
        servers = {"index.company.test": index.url.split("/")[2], "git.company.test": git.split("/")[2]}
        with company(folder, servers) as here:
            yield here


def call(engine: Engine, *words: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, env=os.environ | {"DOCKER_HOST": engine.address} | (environ or {})
    )


@pytest.fixture(scope="module")
def extended(engine, image, site: Company, tmp_path_factory) -> str:
    """Return the image that the page's Dockerfile and command make, with pip's index in place of the public one."""
    place = tmp_path_factory.mktemp("place")
    (dockerfile,) = (block for block in blocks(PAGE) if block.file)
    assert [block.text.strip() for block in blocks(PAGE) if block.run] == [BUILD]
    (place / "company").mkdir()
    text = re.sub(r"^FROM .*", f"FROM {image}", dockerfile.text)
    text = text.replace("RUN pip", "ENV PIP_INDEX_URL=https://index.company.test/simple\nRUN pip")
    (place / dockerfile.file).write_text(text)
    (place / "company" / "company.crt").write_bytes(site.authority.read_bytes())
    words = (
        BUILD.replace("base-of-company", TAG).replace("docker build", "docker build --network host --no-cache").split()
    )
    environ = site.variables() | {"DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        words, cwd=place, capture_output=True, text=True, env=os.environ | environ | {"DOCKER_HOST": engine.address}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    yield TAG
    call(engine, "docker", "rmi", "--force", TAG)


def test_pip_got_its_package_through_the_proxy(extended, site):
    assert "index.company.test" in site.asked


PROGRAMS = {
    "requests": "python -c 'import requests; print(requests.get(\"https://index.company.test/simple/sgp4/\").status_code)'",
    "urllib": "python -c 'import urllib.request as u; print(u.urlopen(\"https://index.company.test/simple/sgp4/\").status)'",
    "curl": "curl -sS -o /dev/null -w '%{http_code}\\n' https://index.company.test/simple/sgp4/",
    "git": "git clone -q https://git.company.test/work.git /tmp/work && wc -l < /tmp/work/a.txt",
    "httpx": "python -c 'import httpx; print(httpx.get(\"https://index.company.test/simple/sgp4/\").status_code)'",
    "aiohttp": (
        "python -c 'import aiohttp, asyncio\nasync def f():\n"
        "  async with aiohttp.ClientSession(trust_env=True) as s:\n"
        '    async with s.get("https://index.company.test/simple/sgp4/") as r:\n'
        "      print(r.status)\nasyncio.run(f())'"
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("of", ["company", "base"])
def test_programs_in_the_image(program, of, engine, image, extended, site):
    """They get through in the company's image, and not in ours, so it is the image that makes the difference."""
    variables = [word for name, value in site.variables().items() for word in ("--env", f"{name}={value}")]
    reference = extended if of == "company" else image
    words = ("docker", "run", "--rm", "--network", "host", *variables, reference, "bash", "-c", PROGRAMS[program])
    done = call(engine, *words)
    if of == "company":
        assert (done.returncode, done.stdout) == (0, "1\n" if program == "git" else "200\n"), done.stderr[-2000:]
    else:
        assert done.returncode != 0
        assert "certificate" in done.stderr.lower()
