"""Is it what the locks say, and is it safe: verify, signatures, layer differences, audits, changes."""
