"""Public copies on loopback as the source of real builds: see `__main__`."""
