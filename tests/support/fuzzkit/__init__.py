"""Fuzzers over every parser: valid input, broken at random; nothing but a HelioError may escape.

edits.py    hypothesis strategies that break bytes and documents
targets.py  what is fed: the parsers, with valid input of each
drive.py    for so many seconds, from a seed; with atheris where it is installed
"""
