"""Room: conda's words only."""
