"""Push by digest, what hangs on an image (SBOM, provenance, signatures, reports), then tags."""
