"""The viewer that `report --serve` opens: the clips of a dataset in a browser, a page at a time, playing.

In: a dataset, and the predictions that `evaluate` wrote for it. Out: a web server on this machine's loopback, which
writes nothing but the list of marked clips. The page, its style and its scripts are files in `browser/`. Begin reading
with `job.py`, then `server.py`.
"""
