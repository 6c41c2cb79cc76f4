"""Weights on the Hugging Face Hub, by `hf://OWNER/NAME[@REVISION][/FILE]`: fetched once, into the Hub's own cache."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.models.weights.folders import WEIGHTS, is_weights_folder

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?(?:/(?P<file>.+))?")
_KINDS = ("datasets", "spaces")
"""Owners that name another kind of repository."""


def local_weights(place: str) -> tuple[Path, list[str]]:
    """Where the weights at `place` lie on this machine, and a line on which version they are; a path is where it is.

    Of a repository without FILE only safetensors and their config.json are fetched. What is in the cache is taken
    without a network.

    Raises UserError for an address that cannot be, without huggingface_hub, and for what cannot be fetched.
    """
    if not place.startswith(SCHEME):
        return Path(place), []
    found = _ADDRESS.fullmatch(place)
    if found is None or found["repo"].partition("/")[0] in _KINDS or ".." in PurePosixPath(found["file"] or "").parts:
        raise UserError(f"--init is {place}; allowed: hf://OWNER/NAME, hf://OWNER/NAME@REVISION, hf://OWNER/NAME/FILE")
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
    except ImportError:
        raise UserError(f"--init is {place}, which takes huggingface_hub: pip install huggingface_hub") from None
    try:
        if found["file"] is not None:
            file = Path(hf_hub_download(found["repo"], found["file"], revision=found["revision"]))
            return file, [f"{place} is {file}"]
        patterns = ["config.json", "*.safetensors", "*.safetensors.index.json"]
        folder = Path(str(snapshot_download(found["repo"], revision=found["revision"], allow_patterns=patterns)))
    except (OSError, ValueError) as error:  # all that huggingface_hub raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--init is {place}, which cannot be fetched: {reason}") from None
    said = [f"{place} is at commit {folder.name}"]
    if is_weights_folder(folder):
        return folder, said
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    if len(files) == 1:
        return folder / files[0], said
    held = f"{len(files)} other safetensors files" if files else "no safetensors file"
    raise UserError(f"--init is {place}, which has {held} and no {WEIGHTS[0]}; name a file: {place}/FILE")
