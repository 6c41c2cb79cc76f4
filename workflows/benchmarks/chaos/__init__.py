"""Campaigns of faults against real builds: real files, real processes, a real Ray cluster, a real S3 protocol.

Start with `__main__`. `ground` is what all rounds share; `builds` starts the command and `disturb` what happens to it;
`writers` kills a writer at each of its writes; `strangers` opens hostile datasets; `judge` holds what is left against
a build that nothing disturbed.
"""
