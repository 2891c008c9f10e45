"""Room: oci's words only."""
