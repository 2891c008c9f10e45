"""What JupyterHub reads: users' servers are containers of the published images, by digest, all on loopback.

`HELIOIMAGES_HUB` names the folder with settings.json (written by `helioimages.hub_server`) and images.py (what
`buildimages profiles --format dockerspawner` writes).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import docker.errors
from dockerspawner import DockerSpawner
from jupyterhub.utils import random_port
from tornado.web import StaticFileHandler
from traitlets import default

FOLDER = Path(os.environ["HELIOIMAGES_HUB"])
SETTINGS = json.loads((FOLDER / "settings.json").read_text("utf-8"))
LOGINS = json.loads(os.environ.get("HELIOIMAGES_HUB_LOGINS") or "{}")
LOOPBACK = "127.0.0.1"
GATEWAY = "/services/dask-gateway"


class LoopbackSpawner(DockerSpawner):
    """DockerSpawner on the host's own network, where a server can listen on loopback only; pulls by digest."""

    @default("options_from_form")
    def _with_size(self):
        """Take the size beside the image, as the form of this hub has both."""

        def options(formdata):
            return {name: formdata[name][0] for name in ("image", "size") if name in formdata}

        return options

    async def start(self):
        """Start the container on a port of its own: all containers share the host's."""
        self.port = random_port()
        if size := SETTINGS["sizes"].get(self.user_options.get("size", "")):
            self.mem_limit, self.cpu_limit = size["memory"], size["cpus"]
        return await super().start()

    async def get_ip_and_port(self):
        """Return where the proxy finds the server, as DockerSpawner asks of those who use the host's network."""
        return LOOPBACK, self.port

    async def pull_image(self, image):
        """Pull an image, unless it is there; DockerSpawner itself takes what follows the last colon for a tag."""
        repository, _, digest = image.partition("@")
        if not digest:
            await super().pull_image(image)
            return
        try:
            await self.docker("inspect_image", image)
        except docker.errors.NotFound:
            self.log.info("pulling image %s", image)
            said = await self.docker("pull", repository, digest, auth_config=LOGINS.get(repository))
            if faults := [json.loads(line)["error"] for line in said.splitlines() if '"error"' in line]:
                raise RuntimeError(f"cannot pull {image}: {faults[-1]}") from None


# Pages and files of a registry are what somebody pushed. A page of ours runs its own scripts, what was pushed none; and
# neither is of the hub's origin, so that it may not ask the hub as the person who looks at it.
# Spec: HTML, "Sandboxing"; Content Security Policy Level 3.
SANDBOX = "sandbox allow-popups allow-popups-to-escape-sandbox allow-downloads"
PUSHED = f"{SANDBOX}; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
OURS = (
    f"{SANDBOX} allow-scripts allow-forms; default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; frame-ancestors 'none'"
)


class CatalogueHandler(StaticFileHandler):
    """The catalogue's pages. Whoever knows the address may read: sandboxed pages have no cookies to show."""

    def set_extra_headers(self, path):
        """Keep what is shown away from the hub."""
        self.set_header("Content-Security-Policy", PUSHED if path.startswith("files/") else OURS)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")


c = get_config()  # noqa: F821
c.JupyterHub.bind_url = f"http://{LOOPBACK}:{SETTINGS['port']}"
c.JupyterHub.hub_ip = LOOPBACK
c.JupyterHub.hub_port = SETTINGS["hub_port"]
c.JupyterHub.db_url = f"sqlite:///{FOLDER / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(FOLDER / "cookie_secret")
c.JupyterHub.template_vars = {"announcement_login": "Any name, and the password that buildimages hub printed."}
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = f"http://{LOOPBACK}:{SETTINGS['proxy_port']}"
c.ConfigurableHTTPProxy.auth_token = SETTINGS["proxy_token"]

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = SETTINGS["password"]
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = LoopbackSpawner
c.Spawner.ip = LOOPBACK
c.Spawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.default_url = "/lab"
c.Spawner.start_timeout = 900
c.Spawner.http_timeout = 120
c.DockerSpawner.prefix = SETTINGS["name"]
c.DockerSpawner.remove = True
c.DockerSpawner.network_name = "host"
c.DockerSpawner.use_internal_ip = True  # there are no ports to publish on the host's network
c.DockerSpawner.volumes = {f"{SETTINGS['name']}-{{username}}": SETTINGS["home"]}
c.DockerSpawner.extra_create_kwargs = {"labels": SETTINGS["labels"]}
c.DockerSpawner.extra_host_config = {"security_opt": ["no-new-privileges"]}
c.Spawner.environment = {
    "DASK_GATEWAY__ADDRESS": f"http://{LOOPBACK}:{SETTINGS['port']}{GATEWAY}",
    "DASK_GATEWAY__PUBLIC_ADDRESS": GATEWAY,
    "DASK_GATEWAY__PROXY_ADDRESS": f"gateway://{LOOPBACK}:{SETTINGS['gateway_port']}",
    "DASK_GATEWAY__AUTH__TYPE": "jupyterhub",
    # A cluster has the notebook's image, unless told otherwise.
    "DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE": "{JUPYTER_IMAGE_SPEC}",
}
load_subconfig(str(FOLDER / "images.py"))  # noqa: F821
if SETTINGS["catalogue"]:
    site = {"path": str(FOLDER / "catalogue"), "default_filename": "index.html"}
    c.JupyterHub.extra_handlers = [(rf"/catalogue/{SETTINGS['catalogue']}/(.*)", CatalogueHandler, site)]

SCOPE = "access:services!service=dask-gateway"
c.JupyterHub.services = [
    {
        "name": "dask-gateway",
        "url": f"http://{LOOPBACK}:{SETTINGS['gateway_port']}",
        "api_token": SETTINGS["gateway_token"],
        "display": False,
    }
]
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", SCOPE]},
    {"name": "server", "scopes": ["users:activity!user", "access:servers!server", SCOPE]},
]
