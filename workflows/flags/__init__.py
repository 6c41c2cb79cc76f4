"""The flags of the commands, as one frozen dataclass for each command.

In: words and `--config` files. Out: a checked config; `record` gives what a dataset or run keeps of it, without
secrets. `values` has what flags share (sizes, durations). Begin reading with `build_flags`.
"""
