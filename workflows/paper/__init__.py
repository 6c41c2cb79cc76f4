"""`paper`: the tables of "Quo Vadis, Action Recognition?" as commands, beside the paper's own figures.

In: datasets and a folder for runs (`PaperConfig`). Out: the `train` and `evaluate` commands that are still to be run,
and the table. Begin reading with `job`; `tables` has the paper's figures, `experiments` the commands.
"""
