"""How many clips each class of Kinetics has as it was published, for datasets whose class list is one of Kinetics.

Carreira et al., "A Short Note about Kinetics-600" (https://arxiv.org/abs/1808.01340), Table 1, for 400 and 600;
Carreira et al., "A Short Note on the Kinetics-700 Human Action Dataset" (https://arxiv.org/abs/1907.06987), Table 1.
The lists that are given out today have somewhat fewer: removed videos are taken from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from kinetics_pipeline.annotations.class_names import spelling


@dataclass(frozen=True)
class PublishedClasses:
    """The class list of one version."""

    name: str
    names_sha256: str
    """SHA-256 of the names' spellings (`class_names.spelling`), sorted, a line each."""
    train: tuple[int, int]
    source: str

    @property
    def clips(self) -> dict[str, tuple[int, int]]:
        """The least and the most clips of a class, by split."""
        return {"train": self.train, "val": (50, 50), "test": (100, 100)}


PUBLISHED_CLASSES = (
    PublishedClasses(
        "Kinetics-400",
        "107094c33ef4ec0ae3749c873ab0f44bd754d978c377ef902e9894f6274ccd95",
        (250, 1000),
        "https://arxiv.org/abs/1808.01340",
    ),
    PublishedClasses(
        "Kinetics-600",
        "adb92ea0c70e57f361b3eca2c236d3baa7d1a7f99f4d5d9e03140232183f3d7b",
        (450, 1000),
        "https://arxiv.org/abs/1808.01340",
    ),
    PublishedClasses(
        "Kinetics-700",
        "3523fd71e85dcd016f68e6c8e13184e7e3599c1f75395a3ca2f2e76276a1c90f",
        (450, 1000),
        "https://arxiv.org/abs/1907.06987",
    ),
)


def published_classes(classes: Collection[str]) -> PublishedClasses | None:
    """The version whose class list this is, in whatever order and spelling; None for another list."""
    names = "\n".join(sorted(map(spelling, classes)))
    found = hashlib.sha256(names.encode()).hexdigest()
    return next((known for known in PUBLISHED_CLASSES if known.names_sha256 == found), None)
