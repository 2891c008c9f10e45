"""The stage `publish`: build, push by digest, smoke that digest, then tag: test before tag."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..cache.access import Cache
from ..cache.entry import place_of
from ..core.errors import HelioError
from ..core.progress import say, stage
from ..engines import registry_server
from ..locks import stale
from ..locks.checkout import Checkout
from ..machine.store import Store
from ..make import images, lending, travel
from ..make.building import Built
from ..make.machine import Machine
from ..oci.reference import is_loopback
from ..oci.registry import Registry
from ..smoke import run
from ..smoke import stage as smoking
from ..spec import tags
from . import attach, documents, overlap, passed, push, unchanged, weights
from .credentials import from_docker_config

#: Processors that the engine's pull and an image's notebooks fill: nothing is to be made beside these.
_FEW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOrder:
    """Where images are published, and on what conditions.

    Attributes:
        host: of the registry; None is the embedded one.
        prefix: put before image names, e.g. ``heliocloud/``.
        out: where reports go, a folder an image.
        reuse: an image whose notebooks passed before, unchanged, is not run again.
        key: signs the image and its documents; None signs nothing.
        before_tag: a command that must succeed with the image's reference before tags name it.
    """

    host: str | None
    prefix: str
    out: Path
    reuse: bool = True
    key: Path | None = None
    before_tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One image that was published: reference by digest, its tags, what was sent and in what time."""

    image: str
    reference: str
    tags: tuple[str, ...]
    bytes_sent: int
    seconds: float
    report: str


def connect(store: Store, host: str | None) -> Registry:
    """Return a client of a registry; of the embedded one, started, if no host is given.

    Raises:
        HelioError: that is no registry's name, or the embedded one does not start.
    """
    if host is None:
        host = registry_server.start(store.root).host
    push.check_place(host)
    return Registry(host, credentials=from_docker_config())


def push_built(client: Registry, machine: Machine, built: Built, prefix: str) -> push.PushReport:
    """Push an image by digest, its parent's layers mounted from the parent's repository, those of a cache from there.

    Raises:
        HelioError: as `push.push_untagged` says.
    """
    parents = [prefix + ancestor.spec.name for ancestor in reversed(built.line[:-1])]
    caches = [cache.place.repository for cache in machine.caches if cache.place.host == client.host]
    return push.push_untagged(
        client,
        built.image,
        prefix + built.spec.name,
        machine.store,
        jobs=machine.jobs,
        mount_from=(*parents, *(caches if machine.store.lent else [])),
    )


def publish(
    checkout: Checkout,
    machine: Machine,
    names: Sequence[str],
    order: PublishOrder,
    announce: Callable[[Published], None] = lambda _: None,
) -> tuple[Published, ...]:
    """Build, push by digest, smoke that digest, then tag; an image is built while those before it are published.

    Args:
        announce: called, in another thread, with each image when it is published.

    Raises:
        HelioError: the order is wrong (before any work), or a stage fails; no tag names what was not tested. What else
            could be published is.
    """
    wanted = checkout.selected(names)
    push.check_place(order.host, [order.prefix + name for name in wanted])
    if order.before_tag:
        push.words_of(order.before_tag)
    if order.key is not None:
        attach.check_key(order.key)
        machine = _believing(machine, order.key)
    # What a shared registry gets is what was committed and reviewed, nothing healed on the way.
    strict = order.host is not None and not is_loopback(order.host)
    # Before a registry or an engine is started for nothing.
    stale.check(checkout, checkout.locks_of(wanted), healed=False, told=False)
    known = _known(checkout, machine, wanted, order)
    # Of the rest `build` tells.
    stale.check(checkout, checkout.locks_of(tuple(known)), healed=False)
    rest = tuple(name for name in wanted if name not in known)
    with connect(machine.store, order.host) as client:
        line = _ImageSteps(
            checkout=checkout, machine=machine, client=client, order=order, strict=strict, announce=announce
        )
        done, faults = overlap.overlapped(
            overlap.Steps(
                make=partial(line.make, tuple(known.values()), rest),
                send=line.send,
                finish=line.finish,
                end=machine.abandon,
            )
        )
    if faults:
        raise overlap.told(faults)
    return tuple(sorted(done, key=lambda image: wanted.index(image.image)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """An image that was built, and the machine that has its layers, or to which they are lent."""

    built: Built
    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """An image that is in the registry, without tags.

    Attributes:
        tested: its notebooks passed before; else the engine has it.
    """

    made: _Made
    pushed: push.PushReport
    tested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImageSteps:
    """The steps of `publish`, for each image."""

    checkout: Checkout
    machine: Machine
    client: Registry
    order: PublishOrder
    strict: bool
    announce: Callable[[Published], None]

    def make(
        self,
        known: Sequence[unchanged.Known],
        names: Sequence[str],
        ready: Callable[[_Made | unchanged.Known], Callable[[], None]],
    ) -> None:
        """Give what is published already, and build the rest.

        The image that the others stand on goes first where processors are few: the engine's pull and its notebooks have
        them, and somebody can begin to work with it.
        """
        for image in known:
            ready(image)
        if not names:
            return
        given: set[str] = set()

        def build(machine: Machine, lenders: Sequence[Cache]) -> None:
            def wanted(built: Built) -> None:
                if built.spec.name in {*names} - given:
                    given.add(built.spec.name)
                    published = ready(_Made(built=built, machine=machine))
                    if built.parent is None and machine.jobs <= _FEW:
                        published()

            images.build(self.checkout, machine, names, strict=self.strict, ready=wanted, lenders=lenders)

        try:
            build(self.machine, _lenders(self.machine, self.order))
        except lending.Unproven as error:
            say(f"    {error.message}: layers that stay in the registry are fetched, and read")
            build(self.machine.whole(), ())

    def send(self, item: _Made | unchanged.Known) -> _Sent | unchanged.Known:
        """Push an image by digest, and have the engine pull it, while notebooks of the one before run."""
        if isinstance(item, unchanged.Known):
            return item
        made, pushed = self._pushed(item)
        run_key = _run_key(self.checkout, made.built)
        tested = self.order.reuse and _passed(self.client, made.machine, made.built, self.order, run_key)
        if not tested:
            made.machine.engine.pull(pushed.reference)
        return _Sent(made=made, pushed=pushed, tested=tested)

    def _pushed(self, item: _Made) -> tuple[_Made, push.PushReport]:
        """Push an image; returns what was pushed, made anew where layers that should be in the registry are gone."""
        prefix = self.order.prefix
        try:
            return item, push_built(self.client, item.machine, item.built, prefix)
        except push.Lost as error:
            say(f"warning: {error.message} ({error.detail}); layers are fetched and made here")
        whole, name = self.machine.whole(), item.built.spec.name
        made = _Made(built=images.build(self.checkout, whole, (name,), strict=self.strict)[name], machine=whole)
        return made, push_built(self.client, whole, made.built, prefix)

    def finish(self, sent: _Sent | unchanged.Known) -> Published:
        """Test and tag it."""
        built = sent.built if isinstance(sent, unchanged.Known) else sent.made.built
        with stage(f"publish {built.spec.name}"):
            if isinstance(sent, unchanged.Known):
                done = _tag_known(self.client, sent, self.order)
            else:
                done = _publish(self.checkout, self.client, sent, self.order)
        self.announce(done)
        return done


def _believing(machine: Machine, key: Path) -> Machine:
    """Return a machine that believes of caches what the key that signs has signed, or another of the user's choice."""
    # Only those who sign need the libraries of cryptography.
    from . import signing

    public = signing.load_private(key).public_key()
    return machine.believing(signing.name(public), partial(signing.good, public))


def _lenders(machine: Machine, order: PublishOrder) -> tuple[Cache, ...]:
    """Return the caches whose layers may stay where they are: those of the registry that is published to.

    Who signs vouches for what an SBOM says of a layer's files, so believes of it only what a key has signed.
    """
    signs = order.key is not None or bool(order.before_tag)
    return tuple(
        cache for cache in machine.caches if cache.place.host == order.host and (cache.good is not None or not signs)
    )


def _known(
    checkout: Checkout, machine: Machine, names: Sequence[str], order: PublishOrder
) -> dict[str, unchanged.Known]:
    """Return what is published already; what a command signs, or is run again, is made."""
    if order.host is None or not order.reuse or order.before_tag:
        return {}
    with stage("published already"), connect(machine.store, order.host) as client:
        place = unchanged.PublishPlace(client=client, prefix=order.prefix, key=order.key)
        return unchanged.look(checkout, machine, place, names)


def _tag_known(client: Registry, known: unchanged.Known, order: PublishOrder) -> Published:
    """Give an image that is in the registry the tags that it lacks."""
    built, start = known.built, time.monotonic()
    repository, digest = order.prefix + built.spec.name, built.image.digest
    wanted = _promote(client, repository, built)
    say(f"    {built.spec.name}: {digest} is published, with the report of these notebooks; nothing is made")
    return Published(
        image=built.spec.name,
        reference=f"{client.host}/{repository}@{digest}",
        tags=wanted,
        bytes_sent=0,
        seconds=round(time.monotonic() - start, 3),
        report=known.report,
    )


def _promote(client: Registry, repository: str, built: Built) -> tuple[str, ...]:
    """Give a pushed and tested image its tags, and return all that it has."""
    plan = tags.plan(
        digest=built.image.digest,
        day=datetime.datetime.fromtimestamp(built.locks.epoch, datetime.UTC).date(),
        lock=built.locks.digest,
        existing=push.existing_tags(client, repository),
    )
    push.promote(client, repository, built.image.digest, plan.missing)
    return plan.wanted


def _publish(checkout: Checkout, client: Registry, sent: _Sent, order: PublishOrder) -> Published:
    machine, built, pushed = sent.made.machine, sent.made.built, sent.pushed
    store, digest = machine.store, built.image.digest
    repository, out = order.prefix + built.spec.name, order.out / built.spec.name
    signed = order.key is not None or bool(order.before_tag)
    run_key = _run_key(checkout, built)
    if not sent.tested:
        smoking.smoke(checkout, machine, built, pushed.reference, out)
        documents.remember_passed(store, run_key, out, digest)
    documents.attach(
        client, repository, built, out, store, run=documents.ReportSubject(key=run_key, sign=_signer(order))
    )
    if not attach.has_documents(built, store):
        images.metadata(checkout, machine, (built.spec.name,))
    # After that, for packages say themselves what they need.
    weighed = weights.attach(client, repository, checkout, built, store)
    others = (*documents.unsigned(built, out), weighed) if signed else ()
    subject = attach.Subject(
        client=client, repository=repository, built=built, root=checkout.root, store=store, others=others
    )
    attach.attach(subject, key=order.key)
    if order.before_tag:
        predicates = out / "predicates"
        attach.write_predicates(subject, predicates)
        push.approve(order.before_tag, pushed.reference, predicates)
    wanted = _promote(client, repository, built)
    if order.host is not None:
        _keep(client, machine, built, order)
    return Published(
        image=built.spec.name,
        reference=pushed.reference,
        tags=wanted,
        bytes_sent=pushed.bytes_sent,
        seconds=pushed.seconds,
        report=str(out / "report.html"),
    )


def _keep(client: Registry, machine: Machine, built: Built, order: PublishOrder) -> None:
    """Put what was made into the cache beside the images, for machines that come after; a registry may refuse it."""
    cache = Cache(client=client, place=place_of(client.host, order.prefix))
    sign = _signer(order)
    try:
        client.expect_push(cache.place.repository)
        travel.keep(cache, built, machine.store, mount=order.prefix + built.spec.name, sign=sign)
        travel.keep_artefacts(cache, built, machine.store)
        # The last: who finds it finds the rest.
        travel.keep_image(cache, built, sign=sign)
    except HelioError as error:
        # The image is published and tagged; a cache only saves the next one time.
        say(f"warning: {cache.place} does not keep what was made: {error.message}")


def _signer(order: PublishOrder) -> Callable[[bytes], str] | None:
    if order.key is None:
        return None
    # Only those who sign need the libraries of cryptography.
    from . import signing

    return partial(signing.sign, signing.load_private(order.key))


def _run_key(checkout: Checkout, built: Built) -> str:
    return run.key(built.image.digest, checkout.lineage(built.spec.name), checkout.root)


def _passed(client: Registry, machine: Machine, built: Built, order: PublishOrder, run_key: str) -> bool:
    """Say whether an image's notebooks passed before, here or where it is published, with the report at hand.

    Where that is this machine's own registry, another checkout ran them, whose folder of reports is not this one's.
    Whoever signs believes a report that the same key signed; whoever signs by a command of theirs runs them.
    """
    name, digest, out = built.spec.name, built.image.digest, order.out / built.spec.name
    if documents.passed(machine.store, run_key, out, digest):
        say(f"    notebooks of {name} passed before in this very image; not run again")
        return True
    if order.before_tag:
        return False
    good = None
    if order.key is not None:
        from . import signing

        good = partial(signing.good, signing.load_private(order.key).public_key())
    repository = order.prefix + name
    try:
        report = passed.look(client, repository, digest, run_key, good)
        if report is None:
            return False
        passed.fetch(client, repository, report, out)
    except HelioError as error:
        say(f"warning: the report of {name} cannot be read: {error.message} ({error.where}); its notebooks are run")
        return False
    documents.remember_passed(machine.store, run_key, out, digest)
    say(f"    notebooks of {name} passed in this very image, as {client.host} has it; not run again")
    return True
