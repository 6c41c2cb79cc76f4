"""Archives from afar as a source of a build: a dataset keeps the list of them, in groups, and each group is a plan.

`node` fetches an archive and reads what it holds, `holder` is the driver's half of that, `state` is what a dataset
keeps, `build` says which group comes next and which clips belong to its plan. Begin reading with `build`.
"""
