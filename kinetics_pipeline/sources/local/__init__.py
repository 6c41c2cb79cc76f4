"""Sources that are local files: folders of videos, and archives that are read in place.

In: a `Clip`. Out: the files that may hold it (`candidates`), best first. Begin reading with `folder`; `tars` keeps an
index of what lies where in each archive (tar files, `zips`, archives in `parts`), `names` says which clip a file's name
stands for, `held` which clips a source has.
"""
