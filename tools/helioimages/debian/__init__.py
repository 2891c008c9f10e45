"""Room: debian's words only."""
