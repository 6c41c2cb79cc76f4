"""Measurements, one module each: `python -m workflows.benchmarks.NAME`; without a NAME, all that need no GPU.

In: nothing, or media that you name. Out: a table on the terminal. No command depends on them.
"""
