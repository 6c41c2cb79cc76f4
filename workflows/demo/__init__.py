"""`demo`: build, kill, resume, train and evaluate, on small videos that it renders itself.

In: a folder. Out: a dataset, two runs, their scores, a page and a picture in it. Begin reading with `job`; `videos`
renders what `scene` draws, `server` serves the videos on loopback, `commands` runs the commands as a user would.
"""
