"""What dask-gateway-server reads: its local backend, with schedulers and workers as containers of the user's image."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from dask_gateway_server.backends.local import LocalClusterConfig, UnsafeLocalBackend
from traitlets import Unicode

FOLDER = Path(os.environ["HELIOIMAGES_HUB"])
SETTINGS = json.loads((FOLDER / "settings.json").read_text("utf-8"))
LOOPBACK = "127.0.0.1"
RUNNER = str(Path(__file__).with_name("in_image.py"))
CERTIFICATES = "/tmp/dask-gateway"


class ImageClusterConfig(LocalClusterConfig):
    """What a cluster may be asked for: the image, as with Dask Gateway's own backends for containers."""

    image = Unicode(help="The image of scheduler and workers.", config=True)


class ImageBackend(UnsafeLocalBackend):
    """The local backend, whose processes are `in_image.py` for as long as their containers run."""

    def get_tls_paths(self, cluster):
        """Return where the certificates are inside the containers."""
        return f"{CERTIFICATES}/dask.crt", f"{CERTIFICATES}/dask.pem"

    def get_scheduler_command(self, cluster):
        """Return the scheduler's command, in its image."""
        return self._in_image(cluster, super().get_scheduler_command(cluster))

    def get_worker_command(self, cluster, worker_name, scheduler_address=None):
        """Return a worker's command, in its image."""
        return self._in_image(cluster, super().get_worker_command(cluster, worker_name, scheduler_address))

    def _in_image(self, cluster, command):
        outside = self.get_certs_directory(cluster.state["workdir"])
        labels = json.dumps(SETTINGS["labels"])
        return [
            sys.executable,
            RUNNER,
            SETTINGS["engine"],
            labels,
            outside,
            CERTIFICATES,
            cluster.config.image,
            *command,
        ]


c = get_config()  # noqa: F821
exec(compile((FOLDER / "gateway_options.py").read_text("utf-8"), "gateway_options.py", "exec"))
c.DaskGateway.address = f"{LOOPBACK}:0"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.JupyterHubAuthenticator"
c.DaskGateway.backend_class = ImageBackend
c.Proxy.address = f"{LOOPBACK}:{SETTINGS['gateway_port']}"
c.Proxy.prefix = "/services/dask-gateway"
c.LocalBackend.cluster_config_class = ImageClusterConfig
c.LocalBackend.clusters_directory = str(FOLDER / "clusters")
# The containers have the images' variables, not this machine's; what pulls the images needs the logins.
c.LocalBackend.inherited_environment = ["HELIOIMAGES_HUB_LOGINS"]
# Dask would listen on every address otherwise.
c.ClusterConfig.worker_cmd += ["--host", LOOPBACK]
