"""What every room may use: errors, digests, entries, readers, platforms. It imports nothing of ours."""
