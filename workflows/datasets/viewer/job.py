"""`report --serve`: opens the viewer and says where, until it is interrupted."""

from __future__ import annotations

import socket
from pathlib import Path

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.redaction import visible
from kinetics_pipeline.workflows.datasets.viewer.predictions import find_predictions
from kinetics_pipeline.workflows.datasets.viewer.server import ViewerServer
from kinetics_pipeline.workflows.datasets.viewer.view import DatasetView
from kinetics_pipeline.workflows.flags.report_flags import ReportConfig


def serve(uri: str, config: ReportConfig) -> None:
    """Serves until Ctrl-C. Raises UserError where there is no dataset, no run, or no such port."""
    predictions = [file for run in config.run for file in find_predictions(run)]
    view = DatasetView(Dataset.open(uri), predictions, config.marks or Path.cwd() / "marked-clips.txt")
    with ViewerServer(view, config.port) as server:
        view.begin()
        print(visible(f"the viewer of {view.dataset.store.uri} is at {server.address}"))
        tunnel = f"ssh -L {server.port}:127.0.0.1:{server.port} {socket.gethostname()}"
        print(f"from another computer, first there: {tunnel}")
        print("it shows the pictures of people to whoever has the address; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("the viewer has ended")
