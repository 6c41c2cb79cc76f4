"""Makes `schema_3_video` beside this file: the tiny dataset of schema version 3, which is the video layout.

It was made once and stays for ever: what was written under version 3 must stay readable. Do not run this to make a
test pass; a schema that changes has a new version, and datasets and a script of its own.

    python -m tests.data.make_schema_3
"""

from __future__ import annotations

from kinetics_pipeline.recipe import Recipe
from tests.data.make_schema_2 import HEIGHT, HERE, make

if __name__ == "__main__":
    make(HERE / "schema_3_video", Recipe(short_side=HEIGHT, layout="video"))
