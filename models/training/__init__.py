"""Training as plain functions over an iterable of batches; knows nothing of files, datasets or Ray.

In: a network, a recipe, batches. Out: a `StepMetrics` for each optimiser step. Begin reading with `loop`; `recipes` has
the paper's numbers, `schedules` the learning rate at each step, `state` what a checkpoint must keep.
"""
