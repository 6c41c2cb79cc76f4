"""Public copies on loopback as the source of real builds. Begin reading with `__main__`, which says what is measured."""
