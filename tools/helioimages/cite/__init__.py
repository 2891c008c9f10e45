"""Cite: the software in an image, or of it what a notebook imports, as BibTeX, CITATION.cff and plain text."""
