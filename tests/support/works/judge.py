"""What the makers of the documents' formats say of crates, as JSON: for each crate, validator -> faults.

Runs in the environment of requirements.lock beside it. The contexts that crates name are read from here, not from the
network. DataCite has no JSON schema of 4.7: the JSON is checked with that of 4.5, which the package `datacite` brings,
and, as the XML that this package makes of it, with 4.7's own XSD.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import urllib.request
import urllib.response
from email.message import Message
from pathlib import Path

import xmlschema
from cffconvert.cli.create_citation import create_citation
from datacite import schema45
from rocrate.rocrate import ROCrate
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

HERE = Path(__file__).parent
CRATE, RUN = "https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run"
#: The terms that Workflow Run RO-Crate adds.
TERMS = (
    *("ParameterConnection", "ContainerImage", "DockerImage", "SIFImage", "connection", "sourceParameter"),
    *("targetParameter", "md5", "sha1", "sha256", "sha512", "environment", "registry", "tag", "containerImage"),
    "resourceUsage",
)
PROFILES = ("process-run-crate-0.5", "workflow-run-crate-0.5", "workflow-ro-crate-1.0", "ro-crate-1.1")


class Answer:
    """A context, as a web server would give it."""

    status_code = 200

    def __init__(self, text: bytes) -> None:
        self.headers = {"Content-Type": "application/ld+json"}
        self.content, self.text = text, text.decode()

    def json(self) -> object:
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        pass


def context(url: str) -> bytes:
    if url == f"{RUN}/context":
        return json.dumps({"@context": {name: f"{RUN}#{name}" for name in TERMS}}).encode()
    assert url == CRATE, url
    return gzip.decompress((HERE / "ro-crate-1.1.jsonld.gz").read_bytes())


class Opener(urllib.request.BaseHandler):
    """What rdflib opens contexts with."""

    def https_open(self, request: urllib.request.Request) -> urllib.response.addinfourl:
        headers = Message()
        headers["Content-Type"] = "application/ld+json"
        answer = urllib.response.addinfourl(io.BytesIO(context(request.full_url)), headers, request.full_url, 200)
        answer.msg = "OK"
        return answer


def main() -> None:
    urllib.request.install_opener(urllib.request.build_opener(Opener))
    HttpRequester.get = lambda _self, url, *_, **__: Answer(context(url))
    spase = xmlschema.XMLSchema11(gzip.decompress((HERE / "spase-2.7.0.xsd.gz").read_bytes()).decode())
    datacite = xmlschema.XMLSchema(HERE / "datacite-4.7" / "metadata.xsd")
    print(json.dumps([judge(Path(crate), spase, datacite) for crate in sys.argv[1:]]))


def judge(crate: Path, spase: xmlschema.XMLSchema11, datacite: xmlschema.XMLSchema) -> dict[str, list[str]]:
    judgement = {f"roc-validator {profile}": profiled(crate, profile) for profile in PROFILES}
    read = ROCrate(str(crate))
    judgement["rocrate"] = [] if read.mainEntity is not None and read.mainEntity.type else ["no main entity"]
    judgement["spase"] = [
        f"{path.name}: {error.reason} at {error.path}"
        for path in sorted(crate.glob("spase/**/*.xml"))
        for error in spase.iter_errors(str(path))
    ]
    said = json.loads((crate / "datacite.json").read_text())
    judgement["datacite 4.5 (JSON)"] = [error.message for error in schema45.validator.iter_errors(said)]
    xml = schema45.tostring({"doi": "10.1234/none", **said})
    judgement["datacite 4.7 (XSD)"] = [
        f"{error.reason} at {error.path}" for error in datacite.iter_errors(io.StringIO(xml))
    ]
    judgement["cffconvert"] = cited(crate)
    return judgement


def profiled(crate: Path, profile: str) -> list[str]:
    settings = services.ValidationSettings(
        rocrate_uri=str(crate),
        profile_identifier=profile,
        requirement_severity=models.Severity.REQUIRED,
        cache_path=str(crate.parent / f".{crate.name}-cache"),
    )
    return [f"{issue.check.identifier}: {issue.message}" for issue in services.validate(settings).get_issues()]


def cited(crate: Path) -> list[str]:
    try:
        create_citation(str(crate / "CITATION.cff"), None).validate()
    except Exception as error:
        return [str(error)]
    return []


if __name__ == "__main__":
    main()
