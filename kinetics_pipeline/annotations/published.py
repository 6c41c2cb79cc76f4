"""Kinetics by name: where the annotation files of each version lie, as a table of data, and how they are kept.

Official archives: Google DeepMind's, https://github.com/google-deepmind/deepmind-research and the datasets' page. Files
of the public copy: https://github.com/cvdfoundation/kinetics-dataset, whose addresses `--mirror` replaces by those of a
copy of one's own. The lists have shrunk and grown over the years, so several counts of one version are known; each says
where it is from. A count is one of clips, that is of rows without the header: a video of 600 and 700 may have several.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from kinetics_pipeline.annotations.download import Unreachable, download, shown_url
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.storage.cache import make_private

_OFFICIAL = "https://storage.googleapis.com/deepmind-media/Datasets"


ACTIVITYNET = "https://github.com/activitynet/ActivityNet, Crawler/Kinetics/data: rows counted; train: its issue 38"
FIFTYONE = "https://docs.voxel51.com/dataset_zoo"
COUNTED_2022 = (
    "https://github.com/prijatelj/human-activity-recognition-in-an-open-world, "
    "arn/scripts/data_management/kinetics_data_analysis.yaml: rows counted"
)


@dataclass(frozen=True)
class KnownList:
    """How many clips the lists of one version had at some time."""

    name: str
    """What messages call it."""
    clips: Mapping[str, int]
    """Clips by split."""
    source: str
    """Who says so."""


@dataclass(frozen=True)
class Published:
    """One version of Kinetics."""

    archive: str
    """Address of the official archive of annotations."""
    files: tuple[tuple[str, ...], ...] = ()
    """Below the public copy, for each split: its annotation file; where the first is not there, the next."""
    known: tuple[KnownList, ...] = ()
    """The lists that were counted; the first is the one as it was published."""
    in_copy: Mapping[str, int] = field(default_factory=dict)
    """Clips of each split in the public copy, where they are known."""
    terms: str = "annotations by Google DeepMind, CC BY 4.0 as stated there"
    """The licence; it is printed when the files are first fetched."""

    @property
    def asked(self) -> Mapping[str, int]:
        """Clips of each split in the lists as they were published."""
        return self.known[0].clips


def _splits(folder: str, suffix: str = "csv") -> tuple[tuple[str, ...], ...]:
    return tuple((f"{folder}/annotations/{split}.{suffix}",) for split in ("train", "val", "test"))


PUBLISHED: dict[str, Published] = {
    "kinetics-400": Published(
        f"{_OFFICIAL}/kinetics400.tar.gz",
        _splits("400"),
        (
            KnownList("the published lists", {"train": 246_534, "val": 19_906, "test": 39_805}, FIFTYONE),
            KnownList("ActivityNet's lists", {"train": 246_534, "val": 19_906, "test": 38_685}, ACTIVITYNET),
            KnownList("DeepMind's lists of 2022", {"train": 219_782, "val": 18_035, "test": 35_357}, COUNTED_2022),
        ),
        # https://github.com/cvdfoundation/kinetics-dataset
        in_copy={"train": 241_258, "val": 19_881, "test": 38_685},
    ),
    "kinetics-600": Published(
        f"{_OFFICIAL}/kinetics600.tar.gz",
        # The copy's .csv of train and val are incomplete (its issue 33).
        (
            ("600/annotations/train.txt", "600/annotations/train.csv"),
            ("600/annotations/val.txt", "600/annotations/val.csv"),
            ("600/annotations/test.csv",),
        ),
        (
            KnownList(
                "the published lists",
                {"train": 392_622, "val": 30_000, "test": 72_924},
                f"train: https://arxiv.org/abs/1808.01340, Table 1; val and test: {ACTIVITYNET}",
            ),
            KnownList("DeepMind's lists of 2022", {"train": 371_354, "val": 28_318, "test": 56_618}, COUNTED_2022),
        ),
        # Train and val: FIFTYONE; test: files counted, COUNTED_2022. Train has videos that no list asks for.
        in_copy={"train": 427_549, "val": 29_793, "test": 59_606},
    ),
    "kinetics-700": Published(
        f"{_OFFICIAL}/kinetics700.tar.gz",
        known=(
            KnownList(
                "the published lists",
                {"train": 545_317, "val": 35_000, "test": 70_000},
                "https://arxiv.org/abs/1907.06987, Table 1: 50 clips of each class for val, 100 for test",
            ),
            KnownList("DeepMind's later lists", {"train": 529_046, "val": 33_925, "test": 67_446}, FIFTYONE),
        ),
    ),
    "kinetics-700-2020": Published(
        f"{_OFFICIAL}/kinetics700_2020.tar.gz",
        _splits("700_2020"),
        (KnownList("the published lists", {"train": 544_823, "val": 34_178, "test": 67_722}, COUNTED_2022),),
        # https://huggingface.co/datasets/iejMac/CLIP-Kinetics700, which has a sample for each clip of the copy.
        in_copy={"train": 536_489, "val": 33_966, "test": 64_532},
    ),
}


def is_published(name: str) -> bool:
    """Whether ANNOTATIONS names a version of Kinetics, and no file of that name lies here."""
    return name.lower() in PUBLISHED and not Path(name).exists()


def require_known(name: str) -> None:
    """Raises UserError for what looks like the name of a version of Kinetics that is not known, and is not a file."""
    if re.fullmatch(r"(kinetics|k)[-_ ]?\d{3}([-_ ]?\d{4})?", name, re.IGNORECASE) and not Path(name).exists():
        raise UserError(f"annotations {name}: there is no such file or version; allowed names: {', '.join(PUBLISHED)}")


def is_base_address(mirror: str | None) -> bool:
    """Whether `--mirror` is an http(s) address, or is not given."""
    try:
        return mirror is None or (urlsplit(mirror).scheme in ("http", "https") and bool(urlsplit(mirror).hostname))
    except ValueError:
        return False


def fetch_published(name: str, mirror: str | None, cache: Path, say: Callable[[str], None]) -> list[Path]:
    """The annotation files of a version of Kinetics, below `cache`, where an unchanged one is not fetched again.

    `mirror`: a copy of one's own, whose annotation files count; None: the official archive, which also counts for a
    version whose annotations no copy has. Says when a file is another one than it was. Raises UserError for what cannot
    be fetched and is not in the cache.
    """
    published = PUBLISHED[name.lower()]
    if mirror is not None and not published.files:
        say(f"{name}: copies have no annotations of this version; --mirror counts for its archives alone")
        mirror = None
    if mirror is None:
        wanted: tuple[tuple[str, ...], ...] = ((published.archive,),)
    else:
        wanted = tuple(tuple(f"{mirror.rstrip('/')}/{file}" for file in files) for files in published.files)
    folder = cache / "annotations" / name.lower()
    if mirror is not None:
        folder /= hashlib.sha256(mirror.encode()).hexdigest()[:12]
    try:
        if not folder.exists():
            say(f"{name}: {published.terms}")
        make_private(folder)
        return [_first_there(addresses, folder, say) for addresses in wanted]
    except OSError as error:
        raise UserError(f"the cache {folder} cannot keep annotations: {error.strerror or error}") from None


def against_known_counts(name: str, counts: Mapping[str, int]) -> list[str]:
    """A line for each split whose number of clips is not the published one, which says whose list it is where that is
    known: the official lists have shrunk over the years."""
    lines = []
    for split, published in PUBLISHED[name.lower()].asked.items():
        if (number := counts.get(split, published)) != published:
            whose = next((one.name for one in PUBLISHED[name.lower()].known if one.clips.get(split) == number), None)
            told = "" if whose is None else f"; {whose} have that number"
            lines.append(
                f"{name}: the lists have {counted(number, 'clip')} of {split}; {published:,} were published{told}"
            )
    return lines


def lacking_in_copy(name: str, counts: Mapping[str, int]) -> int | None:
    """About how many clips the public copy lacks of `counts` clips of each split. None where that is not known, also
    where the copy has more clips of a split than were published: it has others."""
    published = PUBLISHED[name.lower()]
    lacking = 0.0
    for split, number in counts.items():
        there, asked = published.in_copy.get(split), published.asked.get(split)
        if there is None or asked is None or there > asked:
            return None
        lacking += number * (1 - there / asked)
    return round(lacking)


def _first_there(addresses: tuple[str, ...], folder: Path, say: Callable[[str], None]) -> Path:
    for address in addresses:
        if (path := _kept(address, folder, say)) is not None:
            return path
    raise UserError(f"annotations {' and '.join(map(shown_url, addresses))}: the server has none (404)")


def _kept(address: str, folder: Path, say: Callable[[str], None]) -> Path | None:
    """The file at an address, in the cache; None where the server has none."""
    path = folder / address.rpartition("/")[2]
    about = path.with_name(f".{path.name}.json")
    before = _read(about) if path.exists() else {}
    scratch = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115 - takes the file's place
    try:
        with scratch:
            answer = download(address, scratch, etag=before.get("etag", ""))
        if answer.status == 304 or answer.status == 404:
            return path if answer.status == 304 else None
        if answer.status != 200:
            raise UserError(f"annotations {shown_url(address)}: the server answered {answer.status} {answer.reason}")
        with Path(scratch.name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if before and before.get("sha256") != digest:
            say(f"{shown_url(address)} has changed: its SHA-256 was {before.get('sha256')} and is {digest}")
        os.replace(scratch.name, path)
        about.write_text(json.dumps({"address": shown_url(address), "sha256": digest, "etag": answer.etag}))
        return path
    except Unreachable as error:
        if not before:
            raise
        say(f"{error}; the copy in the cache is read")
        return path
    finally:
        Path(scratch.name).unlink(missing_ok=True)


def _read(about: Path) -> dict[str, str]:
    try:
        found = json.loads(about.read_bytes())
    except (OSError, ValueError):
        return {}
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}
