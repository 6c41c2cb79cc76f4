"""Whole builds in one process, on a simulated clock, network, object store and cluster; every run follows from a seed.

What is simulated is what lies around the pipeline's own code: `world` (time, processes), `bucket` (the service behind
`ObjectStore`), `cluster` (nodes and the executor), `network` (the servers that have videos). What runs is the shipped
code: the driver and its stages, the lease, the dataset, the commit of a shard, withdrawals. The rows of a clip are
tokens (`tokens`). `scenario` plays one run and `invariants` judges it. Begin reading with `scenario`.
"""
