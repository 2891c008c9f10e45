"""How packages are called where they are imported: `sklearn` of scikit-learn, `cv2` of opencv-python.

Read of the names of the files in wheels that the store has; a wheel is opened once.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable

from ..core import archives
from ..machine.store import Store
from ..pypi.lock import Wheel
from . import facts

_KIND = "modules"
#: What stands beside a package by mistake, and is imported by nobody.
_NOT = frozenset(("test", "tests", "testing", "docs", "doc", "examples", "example", "setup", "conftest", "benchmarks"))


def of_wheels(wheels: Iterable[Wheel], store: Store) -> dict[str, str]:
    """Return the modules of distributions that are called otherwise than they, in one text each."""
    text_by_name: dict[str, str] = {}
    for wheel in wheels:
        names = store.recall(_KIND, wheel.sha256)
        if names is None:
            path = store.artefact(wheel.sha256)
            if not path.exists():
                continue
            try:
                with archives.reading(), zipfile.ZipFile(path) as archive:
                    names = _read(wheel, archive.namelist())
            except archives.ArchiveError:
                names = []
            store.remember(_KIND, wheel.sha256, names)
        if names:
            text_by_name[wheel.name] = " ".join(names)
    return text_by_name


def _read(wheel: Wheel, files: Iterable[str]) -> list[str]:
    """Return top-level modules that are not what the distribution's name says.

    >>> wheel = Wheel(name="scikit-learn", version="1", file_name="x", sha256="", size=0)
    >>> _read(wheel, ["sklearn/__init__.py", "scikit_learn/__init__.py", "tests/a.py", "x.dist-info/METADATA"])
    ['sklearn']
    """
    paths = (re.sub(r"^[^/]+\.data/(?:purelib|platlib)/", "", name) for name in files)
    tops = {name.partition(".")[0] for name in facts.modules(paths)}
    plain = {top for top in tops if re.fullmatch(r"[A-Za-z]\w*", top)}
    return sorted(top for top in plain - _NOT if top.lower().replace("_", "-") != wheel.name)
