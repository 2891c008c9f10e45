"""Room: pypi's words only."""
