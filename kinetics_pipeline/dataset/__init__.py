"""A whole dataset: its plans and shards together, and what is computed from them.

In: a path or a URI. Out: what is planned, committed and left to do. `verify` checks every byte, `repair` and `withdraw`
take clips out, `convert` makes another dataset of it, `fingerprint`, `certificate` and `compare` say which dataset it
is. `plan_files`, `marker_index` and `newest` read what a `Dataset` is made of, `card` writes its README.md. Begin
reading with `dataset.Dataset`.
"""
