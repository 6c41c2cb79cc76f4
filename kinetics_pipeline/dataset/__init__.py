"""A whole dataset: its plans and shards together, and what is computed from them.

In: a path or a URI. Out: what is planned, committed and left to do. `verify` checks every byte, `repair` and `withdraw`
take clips out, `convert` makes another dataset of it, `fingerprint`, `certificate` and `compare` say which dataset it
is. Begin reading with `dataset.Dataset`.
"""
