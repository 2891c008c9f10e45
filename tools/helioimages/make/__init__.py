"""From locks to images: packages, layers, root file systems, the local channel, recipes."""
