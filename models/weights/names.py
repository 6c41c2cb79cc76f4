"""What the units of I3D are called elsewhere, worked out from the architecture's own table."""

from __future__ import annotations

from kinetics_pipeline.models.layers.inception import LAYERS, Convolution, Mixed

_BRANCHES = {"b0": (0, "0a_1x1"), "b1a": (1, "0a_1x1"), "b1b": (1, "0b_3x3"), "b2a": (2, "0a_1x1")} | {
    "b2b": (2, "0b_3x3"),
    "b3b": (3, "0b_1x1"),
}
"""Our unit in a Mixed block -> its branch, and the end of its name, in TensorFlow's files."""
_HASSONY_BRANCHES = {"b0": "0", "b1a": "1.0", "b1b": "1.1", "b2a": "2.0", "b2b": "2.1", "b3b": "3.1"}
_GOOGLENET_BRANCHES = {"b0": "1", "b1a": "2.0", "b1b": "2.1", "b2a": "3.0", "b2b": "3.1", "b3b": "4.1"}
_MMACTION_BRANCHES = {"b0": "1x1", "b1a": "branch1_3x3_reduce", "b1b": "branch1_3x3"} | {
    "b2a": "branch2_3x3_reduce",
    "b2b": "branch2_3x3",
    "b3b": "pool_proj",
}
_MMACTION_STEM = {"Conv3d_1a_7x7": "conv1_7x7_s2", "Conv3d_2b_1x1": "conv2_3x3_reduce", "Conv3d_2c_3x3": "conv2_3x3"}
_GOOGLENET_STEM = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}

TYPO = {"Mixed_5b.b2b": "Mixed_5b/Branch_2/Conv3d_0a_3x3"}
"""The released code names this one unit 0a where all others say 0b, and so do its checkpoints."""


def units() -> tuple[str, ...]:
    """Our names of all units with normalisation, first to last."""
    names: list[str] = []
    for name, layer in LAYERS.items():
        if isinstance(layer, Convolution):
            names.append(name)
        elif isinstance(layer, Mixed):
            names.extend(f"{name}.{branch}" for branch in _BRANCHES)
    return tuple(names)


def tensorflow_unit(unit: str) -> str:
    """The unit's name in google-deepmind/kinetics-i3d's checkpoints, below their scope."""
    if unit == "logits":
        return "Logits/Conv3d_0c_1x1"
    if unit in TYPO:
        return TYPO[unit]
    block, _, branch = unit.partition(".")
    if not branch:
        return block
    number, end = _BRANCHES[branch]
    return f"{block}/Branch_{number}/Conv3d_{end}"


def hassony_unit(unit: str) -> str:
    """The unit's name in hassony2/kinetics_i3d_pytorch's state dicts."""
    if unit == "logits":
        return "conv3d_0c_1x1"
    block, _, branch = unit.partition(".")
    return f"{block.lower()}.branch_{_HASSONY_BRANCHES[branch]}" if branch else block.lower()


def googlenet_unit(unit: str) -> str:
    """The unit's name in torchvision's GoogLeNet, whose blocks count from a where these count from b."""
    block, _, branch = unit.partition(".")
    if not branch:
        return _GOOGLENET_STEM[block]
    return f"inception{_block_from_a(block)}.branch{_GOOGLENET_BRANCHES[branch]}"


def mmaction_unit(unit: str) -> str:
    """The name of the unit's convolution in mmaction 0.x's InceptionV1_I3D, without `backbone.`.

    Its normalisation is called the same with `_bn` behind.
    """
    block, _, branch = unit.partition(".")
    if not branch:
        return _MMACTION_STEM[block]
    return f"inception_{_block_from_a(block)}_{_MMACTION_BRANCHES[branch]}"


def _block_from_a(block: str) -> str:
    """`Mixed_3b` -> `3a`."""
    return block[len("Mixed_") : -1] + chr(ord(block[-1]) - 1)
