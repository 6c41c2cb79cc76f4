"""`build` and `plan`: a dataset from annotation files and sources, over a Ray cluster.

In: annotation files, sources and flags. Out: committed shards, with one record for each clip. `request` reads what is
asked. `job` is the command: it holds the lease and runs plans in the order that `dataset_build` gives. `driver` runs
one plan (`plan_run`) through three stages: `fetch`, `process`, `write`. Each stage is one file: what runs on a node,
then what the driver does with it. Begin reading with `driver`.

What the driver works with: `open_shards` (the shards at work), `lanes` (when a network source may be asked), `disk` and
`cache_folders` (room in the cache), `executor` (whatever does the work; `ray_executor` does it on the `nodes` of a
cluster), `resources` and `placement` (what each stage takes, and what computes the flow), `state` and `lease` (what a
dataset keeps of a build). `copies` and `archives` are public copies as sources.
What users are told: `preview`, `copy_preview` and `forecast` (`plan`), `time_needed`, `advice`, `reconciliation`; while
a build runs, what the driver's `events` come to (`watch`).
"""
