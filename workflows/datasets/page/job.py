"""`report --html`, `--json` and `--by class`: the same facts as a page, as a document and as a table."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.certificate import certificate_of, write_certificate
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.workflows.datasets.page.facts import facts_of
from kinetics_pipeline.workflows.datasets.page.media import media_of
from kinetics_pipeline.workflows.datasets.page.write import require_html, write_page
from kinetics_pipeline.workflows.flags.report_flags import ReportConfig


def report_facts(
    uri: str,
    html: Path | None,
    certificate: Path | None,
    config: ReportConfig,
    *,
    by_class: bool = False,
    as_json: bool = False,
) -> None:
    """Writes and prints what is asked for. Raises UserError where there is no dataset or no run, or a file cannot be
    written."""
    if html is not None:
        require_html(html)
    dataset = Dataset.open(uri)
    facts = facts_of(dataset, config.run, config.cache)
    if html is not None:
        write_page(facts, html, media_of(dataset, facts["examples"], config.with_media))
    if certificate is not None:
        write_certificate(certificate_of(dataset), certificate)
    if as_json:
        print(json.dumps(facts, indent=2))
    if by_class:
        _print_classes(facts)
    for name, path in (("page", html), ("certificate", certificate)):
        if path is not None:
            print(f"the {name} is {path}", file=sys.stderr if as_json else sys.stdout)


def _print_classes(facts: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = Table("class", "asked", "ok", "", "failed as", box=None, pad_edge=False)
    for one in facts["classes"]:
        failed = ", ".join(f"{outcome} {number}" for outcome, number in Counter(one["failed"]).most_common())
        share = f"{one['ok'] / one['asked']:.1%}"
        table.add_row(visible(one["label"]), str(one["asked"]), str(one["ok"]), share, failed)
    console.print(table)
    for one in facts["outcomes"]:
        if one["outcome"] != "ok":
            console.print(visible(f"{one['outcome']}: {one['meaning']}; {one['to_do']}"))
            for reason in one["reasons"]:
                console.print(visible(f"  {reason['clips']}  {reason['detail'] or 'no reason recorded'}"))
