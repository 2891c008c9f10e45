"""The command line: one file a verb, in the order of tools/buildimages.py; `command` is what they share."""
