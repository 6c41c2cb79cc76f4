"""From annotation files, as people have them, to one checked table of clips.

In: CSV, JSON, split lists, Charades files, also compressed, as paths or URLs. Out: a DataFrame with a row for each
clip (`read_annotations`). Begin with `table`; then `files` (bytes to text), `rows` (text to clips), `checks` (what
makes a row or a set of files wrong).
"""

from kinetics_pipeline.annotations.table import clips_of, read_annotations, read_labels

__all__ = ["clips_of", "read_annotations", "read_labels"]
