"""`train`: a network on one stream of a dataset, in one or several processes, with checkpoints to go on from.

In: a dataset and `TrainConfig`. Out: a run folder (`run_folder` lists its files). Begin reading with `job`, the driver;
`here` trains in this process, `ray_workers` starts several; `session` is what each of them does.
"""
