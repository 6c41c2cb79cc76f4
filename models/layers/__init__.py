"""Layers that several networks share: Inception-V1 in two and three dimensions, batch normalisation, SAME padding.

In and out: tensors [N, C, (T,) H, W]. Begin reading with `inception`, whose table is the paper's.
"""
