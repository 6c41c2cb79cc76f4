"""The facts of a dataset as one page of HTML: nothing is loaded from elsewhere, and nothing from outside is markup.

The page's policy (CSP) names the hash of each of its own scripts and styles, so that no other could run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.workflows.datasets.page.bounds import LARGEST, MOST_ROWS, first_rows, shortened
from kinetics_pipeline.workflows.datasets.page.runs import SCORES
from kinetics_pipeline.workflows.runtime.progress import duration, size

_HERE = files("kinetics_pipeline.workflows.datasets.page")
_PARTS = ("summary", "outcomes", "classes", "failures", "sources", "frames", "clips", "timeline", "runs", "shards")
_DRAWN = (
    "classes",
    "published",
    "failures",
    "shard_list",
    "durations",
    "source_rates",
    "source_sizes",
    "timeline",
    "runs",
)
"""The facts that the script needs; the others are in the template's tables."""


def require_html(path: Path) -> None:
    """Raises UserError for a path that no page can be written to; call it before the work that the page shows."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html is {path}; allowed: a .html file")
    if not path.parent.is_dir():
        raise UserError(f"--html is {path}, which cannot be written: there is no folder {path.parent}")


def write_page(facts: Mapping[str, Any], path: Path, media: Mapping[str, Any] | None = None) -> None:
    """Writes the page. Raises UserError where it cannot be written."""
    require_html(path)
    write_html(page(facts, media), path)


def write_html(text: str, path: Path) -> None:
    """Raises UserError where the file cannot be written."""
    try:
        with new_file(path) as out:
            out.write(text.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"--html is {path}, which cannot be written: {error.strerror}") from None


def page(facts: Mapping[str, Any], media: Mapping[str, Any] | None = None) -> str:
    """The page as text, at most `LARGEST` bytes. `facts` are those of `facts_of`, `media` those of `media_of`."""
    for most in MOST_ROWS:
        text = _page(shortened(first_rows(facts, most)), media if most else None)
        if len(text.encode("utf-8", "replace")) <= LARGEST:
            break
    return text


def _page(clean: Mapping[str, Any], media: Mapping[str, Any] | None) -> str:
    shows_clips = bool(media and media["clips"])
    parts = [part for part in _PARTS if (part != "runs" or clean["runs"]) and (part != "clips" or shows_clips)]
    return rendered(
        "template.html",
        ("charts.js", "tables.js", "script.js", "runs.js"),
        facts=clean,
        media=media and {**media, "clips": [_shown(clip) for clip in media["clips"]]},
        shown={name: clean[name] for name in _DRAWN},
        name=clean["place"].rstrip("/").rpartition("/")[2] or clean["place"],
        part_names=parts,
        score_names=SCORES.items(),
        parts=[(part, part.capitalize()) for part in parts],
        splits=sorted({split for one in clean["outcomes"] for split in one["splits"]}),
        failed=sum(one["clips"] for one in clean["outcomes"] if one["outcome"] not in ("ok", "withdrawn")),
    )


def run_page(facts: Mapping[str, Any]) -> str:
    """The page of one training run. `facts` are those of `run_facts`, and of `folder`, `dataset`, `written` (UTC) and
    `seconds` of work."""
    clean = shortened(facts)
    best = max((score for _, _, score in clean["validation"] if score is not None), default=None)
    tiles = {
        "Network": clean["model"],
        "Stream": clean["stream"],
        "Steps": _number(clean["steps"]),
        "Time": duration(clean["seconds"]) if clean["seconds"] else "",
        "Best evaluation": "" if best is None else f"{best:.1%}",
    }
    return rendered(
        "run.html",
        ("charts.js", "tables.js", "runs.js"),
        facts={**clean, "runs": [clean]},
        shown={"runs": [clean]},
        name=clean["name"],
        score_names=SCORES.items(),
        tiles=[(title, value) for title, value in tiles.items() if value],
    )


def rendered(template: str, scripts_of_page: Sequence[str], **shown: Any) -> str:
    """A page of this folder. `shown` is what its template names; of texts from outside `shortened` has to be given."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, loader=FunctionLoader(_text)
    )
    environment.filters |= {"number": _number, "share": _share, "size": size, "words": _words}
    style = _text("uplot/uPlot.min.css") + _text("look.css")
    licence = "/* uPlot, " + " ".join(_text("uplot/LICENSE").split()) + " */\n"
    scripts = [licence + _text("uplot/uPlot.iife.min.js"), *map(_text, scripts_of_page)]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(
        **shown,
        # Texts of this package, and hashes of them.
        policy=Markup(policy),  # noqa: S704
        style=Markup(style),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
    )


def _shown(clip: Mapping[str, Any]) -> dict[str, Any]:
    return {**clip, **{name: shortened(clip[name]) for name in ("clip_id", "label")}}


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _number(value: int) -> str:
    return f"{value:,}"


def _share(part: int, of: int) -> str:
    return f"{part / of:.1%}" if of else "-"


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
