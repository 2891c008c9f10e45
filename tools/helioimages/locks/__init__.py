"""What is asked for, and what came of it: solve, read, compare and heal locks."""
