"""`doctor`: what is wrong before anything runs, and what to do about it.

In: this machine, and with `--cluster` every node of a Ray cluster. Out: a `Finding` a line, and an exit code. Begin
reading with `machine`; `nodes` looks at a cluster.
"""
