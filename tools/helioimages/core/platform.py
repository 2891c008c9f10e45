"""What an image runs on: one value, and each ecosystem's word for it.

OCI says ``linux/amd64``, conda ``linux-64``, wheel tags ``x86_64``, Debian ``amd64``, and Debian's and CPython's
folders ``x86_64-linux-gnu``. A new processor is one line in `_PROCESSORS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from .errors import HelioError, Stage

#: conda's word for a platform, e.g. ``linux-64``: a type of its own, so that it is never taken for OCI's.
Subdir = NewType("Subdir", str)


@dataclass(frozen=True, slots=True)
class _Processor:
    """One processor in the words of the ecosystems, e.g. ``x86_64``, ``linux-64``, ``amd64``."""

    kernel: str
    subdir: Subdir
    debian: str


#: (OCI architecture, OCI variant) -> words.
_PROCESSORS = {
    ("amd64", ""): _Processor("x86_64", Subdir("linux-64"), "amd64"),
    ("arm64", ""): _Processor("aarch64", Subdir("linux-aarch64"), "arm64"),
    ("arm64", "v8"): _Processor("aarch64", Subdir("linux-aarch64"), "arm64"),
}


#: conda's words for what images can be made for.
SUBDIRS = tuple(dict.fromkeys(processor.subdir for processor in _PROCESSORS.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image runs on, in OCI's (Go's) words: ``linux/amd64``, ``linux/arm64/v8``.

    Any well-formed platform is a value, for registries hold images of all kinds; the words of an ecosystem are known
    for those that images can be made for.
    """

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def of(cls, text: str) -> Platform:
        """Parse ``os/architecture[/variant]``.

        Raises:
            HelioError: it has another form.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(part and part.isalnum() for part in parts):
            raise HelioError(
                Stage.USAGE,
                f"`{text}` is not a platform",
                detail="expected os/architecture[/variant]",
                hint="write for example linux/amd64 or linux/arm64",
            )
        return cls(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else "")

    @property
    def subdir(self) -> Subdir:
        """The word of conda, e.g. ``linux-64``. Spec: CEP 26, "subdir"."""
        return self._processor.subdir

    @property
    def machine(self) -> str:
        """The kernel's word, which wheel tags and conda's ``__archspec`` use, e.g. ``x86_64``. Spec: PEP 600."""
        return self._processor.kernel

    @property
    def debian(self) -> str:
        """Debian's architecture, e.g. ``amd64``. Spec: Debian policy 11.1."""
        return self._processor.debian

    @property
    def triplet(self) -> str:
        """The multiarch triplet that Debian and CPython name folders by, e.g. ``x86_64-linux-gnu``."""
        return f"{self._processor.kernel}-linux-gnu"

    @property
    def _processor(self) -> _Processor:
        processor = _PROCESSORS.get((self.architecture, self.variant))
        if self.os != "linux" or processor is None:
            known = ", ".join(f"linux/{'/'.join(part for part in key if part)}" for key in _PROCESSORS)
            raise HelioError(
                Stage.USAGE, f"images cannot be made for `{self}`", detail=f"expected one of {known} as the platform"
            )
        return processor


#: What images are made for where nothing else is said; its locks have plain names.
FIRST = Platform(os="linux", architecture="amd64")
