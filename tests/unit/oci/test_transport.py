"""Where requests go and who asks: redirects, proxies, TLS, and logins."""

from __future__ import annotations

import base64
import io

import pytest
import requests
from faulty_registry import DATA

from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.oci.image import Settings, append
from helioimages.oci.registry import Registry
from helioimages.oci.transport import Credential, RegistryRequest, Transport, _Challenge, refusal
from helioimages.oci.types import Descriptor, Platform

IMAGE = append(None, [], Settings(cmd=("/hello",)), platform=Platform.of("linux/amd64"), created_epoch=1_700_000_000)


@pytest.fixture
def elsewhere(faulty):
    """Another host, where a registry keeps its blobs."""
    other = type(faulty)()
    yield other
    other.close()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_blobs_may_be_elsewhere_and_our_token_does_not_go_there(faulty, elsewhere, pauses, method):
    faulty.auth, faulty.users = "basic", {"ada": "s3cret"}
    descriptor = Descriptor(media_type="x", digest=elsewhere.put("a/b", DATA), size=len(DATA))
    path = f"/v2/a/b/blobs/{descriptor.digest}"
    there = {"Location": f"http://{elsewhere.host}{path}?signature=x"}
    with Registry(faulty.host, credentials=given("ada", "s3cret"), pause=pauses) as client:
        client.tags("a/b")
        faulty.faults.append(faulty.Fault(f"{method} {path}", "status", status=307, headers=there))
        out = io.BytesIO()
        if method == "HEAD":
            assert client.has_blob("a/b", descriptor.digest) is True
        else:
            client.pull_blob("a/b", descriptor, out)
            assert out.getvalue() == DATA
    ((line, headers),) = elsewhere.seen_headers
    assert line == f"{method} {path}?signature=x"
    assert "Authorization" not in headers


def test_whom_we_are_sent_to_cannot_ask_who_we_are(faulty, elsewhere, pauses):
    elsewhere.auth = "basic"
    digest = of_bytes(DATA)
    there = {"Location": f"http://{elsewhere.host}/v2/a/b/blobs/{digest}"}
    credentials = given("ada", "s3cret")
    with Registry(faulty.host, credentials=credentials, pause=pauses) as client:
        faulty.faults.append(faulty.Fault("HEAD .*blobs", "status", status=307, headers=there))
        with pytest.raises(HelioError) as caught:
            client.has_blob("a/b", digest)
    assert caught.value.message == f"the registry `{elsewhere.host}` refuses"
    assert credentials.asked == []


@pytest.mark.parametrize("location", ["ftp://example.org/x", "http://[x/", "http://127.0.0.1:99999/x"])
def test_an_address_where_nobody_can_go(faulty, client, location):
    faulty.faults.append(faulty.Fault("GET .*tags", "status", status=307, headers={"Location": location}))
    with pytest.raises(HelioError) as caught:
        client.tags("a/b")
    assert caught.value.message == f"the registry `{faulty.host}` sends us to where nobody can go"
    assert caught.value.where == f"GET http://{faulty.host}/v2/a/b/tags/list"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (
            "http://registry.example.org/v2/a/b/blobs/uploads/1?s=x",
            "https://registry.example.org/v2/a/b/blobs/uploads/1?s=x",
        ),
        ("http://REGISTRY.example.org/v2/x", "https://registry.example.org/v2/x"),
        ("http://other.example.org/v2/x", "http://other.example.org/v2/x"),
        ("/v2/x?a=b%2Fc", "https://registry.example.org/v2/x?a=b%2Fc"),
    ],
)
def test_a_registry_that_calls_itself_http_is_still_asked_with_tls(said, asked):
    transport = Transport("registry.example.org")
    transport._base = "https://registry.example.org"
    assert transport._address(said) == asked
    transport.close()


def test_a_proxy_is_not_asked_for_loopback(faulty, client, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert client.tags("a/b") == ()


# -- authentication ----------------------------------------------------------------------------------------------------


def given(username: str, secret: str):
    asked = []

    def credentials(host: str) -> Credential:
        asked.append(host)
        return Credential(username=username, secret=secret)

    credentials.asked = asked
    return credentials


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login(faulty, pauses, auth):
    faulty.auth, faulty.users = auth, {"ada": "s3cret"}
    credentials = given("ada", "s3cret")
    with Registry(faulty.host, credentials=credentials, pause=pauses) as client:
        client.put_manifest("a/b", "v1", IMAGE.manifest_bytes)
        assert client.tags("a/b") == ("v1",)
        assert client.tags("a/b") == ("v1",)
    assert credentials.asked == [f"{faulty.host}/a/b"], "asked once"
    assert faulty.count("token") == (1 if auth == "bearer" else 0), "what may be written may be read"


def test_an_identity_token(faulty, pauses):
    faulty.auth, faulty.identity_token = "bearer", "long-lived"
    with Registry(faulty.host, credentials=given("", "long-lived"), pause=pauses) as client:
        assert client.tags("a/b") == ()


def test_a_token_that_ran_out_is_replaced(faulty, pauses):
    faulty.auth, faulty.users = "bearer", {"ada": "s3cret"}
    with Registry(faulty.host, credentials=given("ada", "s3cret"), pause=pauses) as client:
        client.tags("a/b")
        faulty.tokens.clear()
        assert client.tags("a/b") == ()
    assert faulty.count("token") == 2


def test_mounting_asks_for_both_repositories(faulty, pauses, blob):
    path, descriptor = blob
    faulty.auth, faulty.users = "bearer", {"ada": "s3cret"}
    faulty.put("parent", DATA)
    with Registry(faulty.host, credentials=given("ada", "s3cret"), pause=pauses) as client:
        assert client.push_blob("child", descriptor, path, mount_from=("parent",), missing=True) == "mounted"
    assert faulty.count(r"token.*scope=repository%3Achild%3Apull%2Cpush&scope=repository%3Aparent%3Apull") == 1


def test_a_wrong_password_is_told_without_it(faulty, pauses):
    faulty.auth, faulty.users = "bearer", {"ada": "s3cret"}
    with Registry(faulty.host, credentials=given("ada", "gue55"), pause=pauses) as client:
        with pytest.raises(HelioError) as caught:
            client.tags("a/b")
        assert "gue55" not in repr(client.__dict__)
    assert str(caught.value) == (
        f"the registry `{faulty.host}` gives no token\n"
        f"  in http://{faulty.host}/token\n"
        "  401 Unauthorized (DENIED: wrong password)\n"
        "  asked for repository:a/b:pull as ada\n\n"
        f"hint: log in with `docker login {faulty.host}`"
    )
    assert repr(Credential(username="ada", secret="gue55")) == "Credential(username='ada')"


def test_no_login_where_one_is_needed(faulty, client):
    faulty.auth = "basic"
    with pytest.raises(HelioError) as caught:
        client.tags("a/b")
    assert caught.value.detail == "401 Unauthorized (UNAUTHORIZED: who are you?)"
    assert caught.value.hint == f"log in with `docker login {faulty.host}`"


def test_a_login_never_goes_to_another_host(faulty, pauses):
    """An upload may continue elsewhere; that address carries its own signature."""
    faulty.auth, faulty.users = "basic", {"user": "secret"}
    other = type(faulty)()
    try:
        login = Credential(username="user", secret="secret")
        transport = Transport(faulty.host, credentials=lambda _: login, pause=pauses, tries=1)
        assert transport.request(RegistryRequest(method="GET", path="/v2/"), scope="s").status_code == 200
        assert (
            transport.request(RegistryRequest(method="GET", path=f"http://{other.host}/v2/"), scope="s").status_code
            == 200
        )
        transport.close()
    finally:
        other.close()
    assert "Authorization" in faulty.seen_headers[-1][1]
    (asked,) = other.seen_headers
    assert "Authorization" not in asked[1]
    assert asked[1]["Accept-Encoding"] == "identity"
    assert "secret" not in repr(login)


def test_a_login_never_goes_over_plain_http_to_a_token_server():
    transport = Transport("registry.example.org", tries=1)
    challenge = _Challenge(scheme="bearer", realm="http://auth.example.org/t?x=1")
    with pytest.raises(HelioError) as caught:
        transport._token(challenge, "repository:a:pull")
    transport.close()
    assert (caught.value.message, caught.value.detail) == (
        "the registry `registry.example.org` sends us elsewhere for a token, over plain HTTP",
        "expected https not http://auth.example.org/t",
    )


@pytest.mark.parametrize("key", ["token", "access_token"])
@pytest.mark.parametrize(("service", "quoted"), [(True, True), (True, False), (False, True), (False, False)])
def test_token_servers_differ(faulty, pauses, key, service, quoted):
    """None of them says here for how long a token is good."""
    faulty.auth, faulty.users = "bearer", {"ada": "s3cret"}
    faulty.token_key, faulty.service, faulty.quoted = key, service, quoted
    with Registry(faulty.host, credentials=given("ada", "s3cret"), pause=pauses) as client:
        assert client.tags("a/b") == ()


def test_each_repository_may_have_a_login_of_its_own(faulty, pauses):
    faulty.auth, faulty.users, faulty.strict = "bearer", {"ada": "1", "bob": "2"}, True
    faulty.put("a/b", DATA)
    faulty.put("c/d", DATA)
    logins = {f"{faulty.host}/a/b": Credential(username="ada", secret="1")}
    bob = Credential(username="bob", secret="2")
    with Registry(faulty.host, credentials=lambda place: logins.get(place, bob), pause=pauses) as client:
        assert client.tags("a/b") == client.tags("c/d") == ()
    sent = [headers["Authorization"] for line, headers in faulty.seen_headers if "/token" in line]
    assert [base64.b64decode(header.removeprefix("Basic ")).decode() for header in sent] == ["ada:1", "bob:2"]


def test_dockers_hub_answers_at_another_address(faulty, pauses, monkeypatch):
    monkeypatch.setattr("helioimages.oci.reference._HUB_ADDRESS", faulty.host)
    faulty.auth, faulty.users = "bearer", {"ada": "s3cret"}
    faulty.put("library/base", DATA)
    credentials = given("ada", "s3cret")
    with Registry("index.docker.io", credentials=credentials, pause=pauses) as client:
        assert client.host == "docker.io"
        assert client.has_blob("base", of_bytes(DATA))
        client.put_manifest("ada/base", "v1", IMAGE.manifest_bytes)
        assert client.tags("ada/base") == ("v1",)
        with pytest.raises(HelioError) as caught:
            client.get_bytes("base", IMAGE.manifest.config)
    assert credentials.asked == ["docker.io/library/base", "docker.io/ada/base"]
    assert caught.value.where.startswith(f"GET http://{faulty.host}/v2/library/base/blobs/")


def test_a_refusal_of_dockers_hub_names_its_login():
    response = requests.Response()
    response.status_code, response.url = 401, "https://registry-1.docker.io/v2/ada/base/tags/list"
    response.request = requests.Request("GET", response.url).prepare()
    assert refusal(response).hint == "log in with `docker login docker.io`"
