"""A small world to break: two images from tiny packages, through the product's own pipeline, and what must hold after.

world.py    the checkout, the channel, the index, one whole run of the pipeline
checks.py   what must be true of a store, a checkout and a registry after any fault
kills.py    kill -9 at random moments and at chosen steps
proxy.py    a registry's bad days, in front of a real one
"""
