"""Results that travel through a registry: layers under their keys, artefacts under their sha256.

Reading order: `entry`, `image_entry` (the format, pure) -> `access` (read and write).
docs/cache.md has it byte for byte.
"""
