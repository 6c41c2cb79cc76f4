"""Public copies on loopback as the source of builds. Begin reading with `__main__`, which says what is measured."""
