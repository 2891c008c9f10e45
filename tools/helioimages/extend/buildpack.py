"""repo2docker's own way in: a BuildPack that begins with a published image, and installs no conda again.

`repo2docker_config.py` names it, as repo2docker's documentation tells ("Using repo2docker's Configuration"):

    from helioimages.extend.buildpack import PublishedImage
    from repo2docker.buildpacks import DockerBuildPack

    c.Repo2Docker.base_image = "HOST/helio:TAG"
    c.Repo2Docker.buildpacks = [DockerBuildPack, PublishedImage]
    c.Repo2Docker.default_buildpack = PublishedImage

This is the only module that needs repo2docker: ``pip install helioimages[repo2docker]``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from repo2docker.buildpacks.base import BuildPack

from ..core.errors import HelioError
from ..core.platform import FIRST, Platform
from ..machine.store import Store, default_root
from ..oci.reference import Reference
from ..publish import release
from . import binder, parent, repository, solve
from .dockerfile import ParentImage, RepositoryRecipe, dockerfile


class PublishedImage(BuildPack):  # type: ignore[misc]  # repo2docker has no types
    """A repository on top of ``base_image``, an image that `buildimages publish` pushed.

    What it holds is read from its registry, so what contradicts it is told before anything is built.
    """

    def detect(self) -> bool:
        """Take every repository: what cannot be done is refused by file and line, not built otherwise."""
        return True

    def render(self, build_args: Mapping[str, str] | None = None) -> str:
        """Return the Dockerfile of the repository in the current folder.

        Args:
            build_args: repo2docker's; ``REPO_DIR`` is where the files go, the home by default.
        """
        try:
            return self._render(dict(build_args or {}))
        except HelioError as error:
            # repo2docker shows exceptions with their traces, and BinderHub the last line alone.
            self.log.error("%s", error)
            sys.exit(1)

    def _render(self, build_args: Mapping[str, str]) -> str:
        below = self._parent
        with repository.opened(".") as opened:
            asked = solve.of_parent(binder.read(opened), below)
        for note in asked.notes:
            self.log.info("note: %s", note)
        if build_args.get("NB_UID", str(below.uid)) != str(below.uid):
            self.log.warning("The image's user stays: uid %s, not %s", below.uid, build_args["NB_UID"])
        config = below.image.config
        return dockerfile(
            RepositoryRecipe(
                below=ParentImage(
                    reference=below.reference,
                    uid=below.uid,
                    entrypoint=config.entrypoint or (),
                    command=config.cmd or (),
                ),
                asked=asked,
                requirements=solve.requirements(asked, below),
                place=build_args.get("REPO_DIR") or below.home,
                labels={name: str(value) for name, value in self.get_labels().items()},
                appendix=self.appendix,
            )
        )

    @cached_property
    def _parent(self) -> parent.Parent:
        reference, store = Reference.parse(self.base_image), Store(default_root())
        with release.connect(store, reference.host) as client:
            return parent.find(client, reference, store, Platform.of(self.platform) if self.platform else FIRST)

    def get_build_script_files(self) -> Mapping[str, Any]:
        """Return none: the image has all that it needs."""
        return {}
