"""Builds on a cluster that grows from nothing and shrinks again: `python -m workflows.benchmarks.autoscaling`.

Ray's own autoscaler starts and ends real nodes of this machine through Ray's fake provider: `cluster` makes such a
cluster, `rounds` are the builds on it and what each has to show, `downloads` one more, about nodes with downloads.
Begin reading with `rounds`.
"""
