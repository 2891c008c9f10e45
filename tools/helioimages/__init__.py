"""helioimages: locked packages to deterministic layers to container images."""

__version__ = "0.1.0"
