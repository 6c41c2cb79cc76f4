"""Reads annotation files, as people have them, into one checked table of clips.

In: tables and JSON in the forms people have, class folders, split lists, Kinetics by name; also compressed, as paths or
URLs. Out: a DataFrame with a row for each clip (`read_annotations`). Begin with `table`, then follow a file: `files`
(bytes to text), `separators`, `text_tables` and `plain_blocks` or `json_rows` (text to rows), `collected` (rows to
columns), `checks` (what makes a row or a set of files wrong).
"""

from kinetics_pipeline.annotations.table import clips_of, read_annotations, read_labels

__all__ = ["clips_of", "read_annotations", "read_labels"]
