"""This computer: the store, downloads, processes, the host's programs, and the checkout's own files."""
