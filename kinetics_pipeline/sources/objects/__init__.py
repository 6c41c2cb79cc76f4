"""Videos in object stores (`s3://`, `gs://`, `az://`), one object a file.

In: a key with the video's id in it, or a prefix below which the videos lie. Out: the sections of the files that hold
the clips, where a file's index says where they are, else whole files. Begin with `videos`.
"""
