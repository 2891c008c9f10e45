"""A real JupyterHub with Dask Gateway on this machine, to try the published images."""
