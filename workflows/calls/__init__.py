"""The commands as calls from Python, as in a notebook: `build`, `train`, `evaluate`, `predict`, `status`, and `show`.

In: the configs of the commands. Out: objects that a notebook shows; what a command would say in a line is raised
(`kinetics_pipeline.errors`). Everything here is imported from `kinetics_pipeline.workflows`. Begin with `jobs`.
"""
