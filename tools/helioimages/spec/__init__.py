"""What people write, read strictly into frozen values. Pure."""
