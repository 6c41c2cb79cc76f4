"""The notebook beside the demo, run from its first cell to its last."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.builders.clusters import Cluster

TOUR = Path(__file__).parents[3] / "workflows" / "demo" / "tour.ipynb"


@pytest.mark.slow
def test_the_tour_runs_to_its_end_and_shows_what_it_says(
    node: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    places = {"TMPDIR": tmp_path, "IPYTHONDIR": tmp_path / "ipython", "JUPYTER_RUNTIME_DIR": tmp_path / "runtime"}
    for name, value in {**node.environment, **places}.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(TOUR, as_version=4)
    NotebookClient(notebook, timeout=600).execute()  # raises what a cell raises

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pages = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert any('<progress value="50" max="50">' in page and "50 of 50 clips" in page for page in pages)
    assert any('<progress value="4" max="4">' in page for page in pages)
    assert any(page.startswith("<div>build of ") and ">too_short<" in page for page in pages)
    assert len(pictures) == 3
    for picture in pictures:
        height, width, _ = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR).shape
        assert height > 240
        assert width > 480
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "'no-such-clip' has no record" in said
    assert "ipywidgets" not in said


def test_the_tour_is_kept_without_what_a_machine_wrote_into_it():
    cells = [cell for cell in nbformat.read(TOUR, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
