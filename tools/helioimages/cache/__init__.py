"""Results that travel through a registry: layers under their keys, artefacts under their sha256.

Reading order: `entry` (the format, pure) -> `registry` (read and write). docs/cache.md has it byte for byte.
"""
