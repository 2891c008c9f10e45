"""Extend: a repository of notebooks on top of a published image, as Binder reads it."""
