"""What to say of a tag or a digest that a repository has not: the tags that it has, and which one was meant.

Of a repository that is not there: which one was meant, where the registry tells its names.
"""

from __future__ import annotations

from ..core.errors import HelioError, Stage
from ..core.near import meant
from .reference import Reference
from .registry import Registry

_MOST = 20


def absent(client: Registry, reference: Reference, label: str, stage: Stage) -> HelioError:
    """Return the error of a reference that the registry answers with nothing.

    Args:
        label: what was asked for, as people wrote it.
        stage: whose error it is.
    """
    # Those that only list what is attached to an image are no names of it.
    tags = [tag for tag in client.tags(reference.repository) if not tag.startswith("sha256-")]
    # Days sort by themselves; the newest are at the end, and lock tags mean nothing to people.
    shown = sorted(tags, key=lambda tag: (tag.startswith("lock-"), [-ord(sign) for sign in tag]))
    more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
    if tags:
        near = meant(reference.tag, tags) if reference.tag and not reference.digest else ""
    else:
        near = meant(reference.repository, client.repositories())
    there = f"the tags there: {', '.join(shown[:_MOST]) or 'none'}{more}"
    return HelioError(
        stage,
        f"`{label}` is not in the registry",
        where=f"{client.host}/{reference.repository}",
        detail=f"expected a manifest under {reference.digest or reference.tag or 'latest'}",
        hint=f"{near} {there[0].upper()}{there[1:]}" if near else there,
    )
