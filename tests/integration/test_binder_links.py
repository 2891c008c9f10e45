"""The Binder links that a catalogue's page makes, read by BinderHub's own parser.

The index has one BinderHub, of 2018, which takes commits alone. Newer ones, which take branches and tags, read the same
part of the link in the same way; that was tried by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from catalogue_support import catalogue, entry, page
from pinned import packages

from helioimages.catalogue import site

pytestmark = pytest.mark.network

SUPPORT = Path(__file__).parents[1] / "support"
COMMIT = "55de766da78c3a9a784db66ba36a34b937d75469"
#: BinderHub's route is /v2/PROVIDER/SPEC, SPEC as the browser sends it.
READ = """\
import json, sys, types
# A neighbour of the parser speaks with Kubernetes; its client is not here.
there = types.SimpleNamespace(api_client=types.SimpleNamespace())
sys.modules |= {"kubernetes": there, "kubernetes.client": there}
from binderhub.repoproviders import GitRepoProvider
provider = GitRepoProvider(spec=sys.argv[1])
print(json.dumps([provider.get_repo_url(), provider.unresolved_ref]))
"""


@pytest.mark.parametrize("address", ["https://git.example.com/team/course.git", "https://git.example.com/a b/c"])
def test_binderhub_reads_the_repository_and_the_commit(browser, tmp_path, address):
    with site.writing(tmp_path / "site") as made:
        made.write(catalogue(page("base", entry("base"))))
    tab = browser.new_page()
    (path,) = (tmp_path / "site" / "tags").glob("*.html")
    tab.goto(path.as_uri())
    tab.get_by_role("textbox", name="Repository").fill(address)
    tab.get_by_role("textbox", name="Branch").fill(COMMIT)
    tab.get_by_role("textbox", name="Open").fill("a b/wind #1.ipynb")
    link = urllib.parse.urlsplit(tab.locator("#binder-link").inner_text())
    tab.close()
    assert link.path.startswith("/v2/git/")
    done = subprocess.run(
        [sys.executable, "-c", READ, link.path.removeprefix("/v2/git/")],
        env=os.environ | {"PYTHONPATH": str(packages(SUPPORT / "binderhub.lock"))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [address, COMMIT]
    # Its page sends people to this address below their server.
    (opened,) = urllib.parse.parse_qs(link.query)["urlpath"]
    assert urllib.parse.unquote(opened) == "lab/tree/a b/wind #1.ipynb"
    assert "#" not in opened
