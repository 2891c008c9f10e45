"""Notebooks inside an image, and the report of them."""
