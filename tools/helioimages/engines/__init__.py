"""Servers and containers: the engine, the embedded registry, the hub."""
