"""The commands for datasets that exist: one module for each of `status`, `verify`, `report`, `compare` and the tools.

In: the path or URI of a dataset. Out: lines on the terminal, and for some tools files or another dataset. The work on
the data lies in `kinetics_pipeline.dataset`. Begin reading with `status`.
"""
