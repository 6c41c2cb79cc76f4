"""`build` and `plan`: a dataset from annotation files and sources, over a Ray cluster.

`request` reads the command line's files and sources, `job` holds the lease and runs one plan after the other, `driver`
runs one plan through three stages: `fetch`, `process`, `write`. Each stage is one file: what runs on a node, then what
the driver does with it. Begin reading with `driver`; `ray_executor` is all that it needs of Ray. `archives` is
the order of a build from public copies.
"""
