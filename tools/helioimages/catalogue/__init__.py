"""What hubs choose from: the catalogue of a registry, its site, deltas and profiles."""
