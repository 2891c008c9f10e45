"""A machine with nothing on it but what a fresh one has: a root file system, and namespaces of its own.

`readme` says what is run, `carried` what the machine takes along from this one, `tree` makes and removes its files,
`network` is its way out, `space` its namespaces, `enter` its mounts, `guest` what runs inside.
"""
