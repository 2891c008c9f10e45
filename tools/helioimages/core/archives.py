"""What the readers of zip, tar and compressed files raise on damage, as one error.

None of them documents it whole, and it differs by the kind of damage: a zip's flag that a bit-flip sets is a
NotImplementedError, a wrong size in a tar's header a ValueError. A list kept at each reader is never the whole one.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import cast

import zstandard
from isal import isal_zlib

#: zipfile: RuntimeError when encrypted, NotImplementedError (one of its kinds) for what it does not know, ValueError
#: for names that are no text. tarfile: ValueError, OverflowError, MemoryError and RecursionError on headers made to
#: confuse it. KeyError: a member that one part of an archive names and another lacks.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    lzma.LZMAError,
    zstandard.ZstdError,
    struct.error,
    EOFError,
    ValueError,
    KeyError,
    OverflowError,
    RuntimeError,
    MemoryError,
)


class ArchiveError(Exception):
    """An archive, or a compressed file, is damaged or none at all."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Raise what damage makes the readers raise as ArchiveError; what the machine does wrong stays an OSError.

    Errors for people (HelioError) pass.
    """
    try:
        yield
    except _DAMAGE as error:
        # The text of a KeyError is in quotes.
        words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        raise ArchiveError(words or type(error).__name__) from error
    except OSError as error:
        # bz2 and gzip report damage without a number; an offset before the file's start is EINVAL.
        if error.errno is None:
            raise ArchiveError(str(error)) from error
        if error.errno != errno.EINVAL:
            raise
        raise ArchiveError("its directory points out of the file") from error


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield a tar's members, each further on than the one before.

    A negative size sends tarfile back, to read the same member for ever (CVE-2025-8194).

    Raises:
        ArchiveError: a header has such a size.
    """
    end = -1
    for member in tar:
        if member.size < 0 or member.offset_data <= end:
            raise ArchiveError(f"the tar header of {member.name!r} is wrong")
        end = member.offset_data
        yield member
