"""Files and state dicts that are recognised for what they are when they cannot be used, and what fits instead.

`KINDS` is an ordered table of data: `recognition` says the first row that matches. A row is recognised by the first
bytes or the suffix of a file, by the names inside an archive or folder, or by the names and shapes of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

NONE_FITS = "no network here has its layers; `train --model i3d` starts from Inception-V1's weights, or from nothing"
RESNET = "no network here has residual blocks; `train --model i3d` starts from Inception-V1's weights, or from nothing"
PLAIN_C3D = (
    "it has biases and no batch normalisation, so no network here takes it; `train --model c3d` trains the paper's C3D "
    "from nothing"
)
UNPACK = "unpack it, and give the file inside"
DCP = "torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
JAX = "JAX's files are not read; save its weights by name, as safetensors in the names of a public PyTorch port"
TAKES = "--model {model} takes it (build_model({model!r}) in Python)"


@dataclass(frozen=True)
class Kind:
    """A row of the table. All conditions that are given must hold."""

    what: str
    """Completes "it is ..."."""
    fits: str
    """What to do with it. `{path}` and `{found}` stand for the file, and for what was found in a folder; `{model}` for
    `model`."""
    model: str | None = None
    """The network here whose weights these are."""
    begins: tuple[bytes, ...] = ()
    """Beginnings of a file, in small letters and without leading spaces, one of which it has."""
    suffixes: tuple[str, ...] = ()
    """The file's name ends with one of these."""
    file_name: str = ""
    """A pattern that is found in the file's name, whatever the file holds."""
    at: int = 0
    """The byte where `begins` stand."""
    members: tuple[str, ...] = ()
    """Patterns, each found in a name within a zip archive, or directly within a folder."""
    folder: bool = False
    """Whether `members` are those of a folder."""
    names: tuple[str, ...] = ()
    """Patterns, each found at the beginning of a tensor's name."""
    axes: int | None = None
    """The number of axes of the tensor that the first of `names` matches, where its shape is known."""
    shape: tuple[int | None, ...] = ()
    """The shape of the same tensor; None is any size."""

    def sentence(self, path: str, found: str = "") -> str:
        """The line's second half: what it is, and what fits."""
        fits = self.fits.replace("{path}", path).replace("{found}", found)
        if self.model is not None:
            fits = fits.format(model=self.model)
        return f"it is {self.what}; {fits}"


KINDS: tuple[Kind, ...] = (
    # Folders.
    Kind("a run folder", "give {path}/checkpoints/{found}", folder=True, members=(r"^(best|last)\.pt$",)),
    Kind(
        "a folder with a TensorFlow checkpoint",
        "give the prefix of its files, {path}/{found}",
        folder=True,
        members=(r"^.+\.index$",),
    ),
    Kind(
        "a TensorFlow SavedModel",
        "its graph is not read; give the checkpoint (index and data files) that it was exported from",
        folder=True,
        members=(r"^saved_model\.pb(txt)?$",),
    ),
    Kind("a DeepSpeed checkpoint", "run the zero_to_fp32.py in it, and give the file that this writes", folder=True,
         members=(r"^(zero_to_fp32\.py|global_step\d+)$",)),
    Kind("a part of a DeepSpeed checkpoint", "give {path}/{found}", folder=True,
         members=(r"^mp_rank_\d+_model_states\.pt$",)),
    Kind("an Orbax checkpoint, of JAX", JAX, folder=True,
         members=(r"^(_METADATA|_CHECKPOINT_METADATA|manifest\.ocdbt)$",)),
    Kind("a folder of Hugging Face's cache", "give the file of weights within {path}/snapshots", folder=True,
         members=(r"^snapshots$", r"^blobs$")),
    Kind("a folder with weights in several files", "give their index, {path}/{found}", folder=True,
         members=(r"\.(safetensors|bin)\.index\.json$",)),
    Kind("a folder of a distributed torch checkpoint", f"convert it by {DCP}, and give that file", folder=True,
         members=(r"^\.metadata$",)),
    Kind("a folder with weights in it", "give {path}/{found}", folder=True,
         members=(r"\.(safetensors|pt|pth|pth\.tar|ckpt|bin|tar)$",)),
    Kind("a folder without weights", "give a file of weights, or a run folder", folder=True),
    # Files that are recognised by their names.
    Kind("one of several files that hold the weights together", "give their index, which ends with .index.json",
         file_name=r"-\d{5}-of-\d{5}\.(safetensors|bin)$"),
    Kind("a part of a distributed torch checkpoint", f"give its folder to {DCP}, and that file here",
         file_name=r"\.distcp$"),
    Kind("the data file of a TensorFlow checkpoint", "its .index file must lie beside it, under the same name",
         file_name=r"\.data-\d{5}-of-\d{5}$"),
    Kind("a Flax file, of JAX", JAX, file_name=r"\.msgpack$"),
    # Files that are no weights at all.
    Kind("a web page", "the download gave a page instead of the file (an access denied, a confirmation asked): open "
         "its address in a browser, and save the file itself",
         begins=(b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")),
    Kind("a Git LFS pointer", "the repository was cloned without its large files: run `git lfs pull` there",
         begins=(b"version https://git-lfs",)),
    Kind("the index of a TensorFlow checkpoint's folder, a text", "give the prefix of the files that it names, as "
         "model.ckpt", begins=(b"model_checkpoint_path",)),
    Kind("a JSON document", "it holds names, no weights; give the .safetensors, .bin or .pt file beside it",
         begins=(b"{", b"[")),
    Kind("compressed with gzip", UNPACK, begins=(b"\x1f\x8b",)),
    Kind("compressed with bzip2", UNPACK, begins=(b"bzh",)),
    Kind("compressed with xz", UNPACK, begins=(b"\xfd7zxz",)),
    Kind("compressed with Zstandard", UNPACK, begins=(b"\x28\xb5\x2f\xfd",)),
    Kind("a 7z archive", UNPACK, begins=(b"7z\xbc\xaf",)),
    Kind("a RAR archive", UNPACK, begins=(b"rar!",)),
    Kind("a tar archive", f"{UNPACK} (a checkpoint that torch itself wrote as tar, before 2017, has to be saved again)",
         begins=(b"ustar",), at=257),
    Kind("an HDF5 file, as Keras writes them", "Keras's names are not read; DeepMind's TensorFlow files and the public "
         "PyTorch ports have the same weights of I3D", begins=(b"\x89hdf\r\n",)),
    Kind("an MXNet parameter file, as GluonCV has them", f"MXNet's files are not read, and {NONE_FITS}",
         begins=(b"\x12\x01\0\0\0\0\0\0",)),
    Kind("a NumPy array", "give a file with all tensors by name", begins=(b"\x93numpy",)),
    Kind("a TensorFlow Lite model", "its graph is not read; give the checkpoint that it was made from",
         begins=(b"tfl3",), at=4),
    Kind("a MATLAB file", "MATLAB's files are not read; give a file of torch's or safetensors'",
         begins=(b"matlab 5.0",)),
    Kind("a Parquet file", "it may be a shard or features; give a file of weights", begins=(b"par1",)),
    Kind("an Arrow file", "it may be a shard; give a file of weights", begins=(b"arrow1",)),
    Kind("a picture", "give a file of weights", begins=(b"\xff\xd8\xff", b"\x89png", b"gif8")),
    Kind("a video", "give a file of weights", begins=(b"ftyp",), at=4),
    Kind("a video", "give a file of weights", begins=(b"\x1a\x45\xdf\xa3", b"riff")),
    Kind("a PDF document", "give a file of weights", begins=(b"%pdf",)),
    Kind("an ONNX model", "its graph is not read; save the state_dict of the network that it was exported from",
         begins=tuple(bytes([8, version, field]) for version in range(3, 14) for field in (18, 58)),
         suffixes=(".onnx",)),
    Kind("a Caffe model", f"Caffe's files are not read, and {NONE_FITS}", suffixes=(".caffemodel",)),
    Kind("a TensorFlow graph", "graphs are not read; give the checkpoint (index and data files) that it was made from",
         suffixes=(".pb", ".pbtxt")),
    Kind("an MXNet parameter file, as GluonCV has them", f"MXNet's files are not read, and {NONE_FITS}",
         suffixes=(".params",)),
    # Zip archives.
    Kind("a TorchScript program", "it brings its own code, which is not run; where you trust it, save the weights: "
         "torch.save(torch.jit.load(FILE).state_dict(), NEW)", members=(r"/code/|^code/", r"constants\.pkl$")),
    Kind("a TorchScript program or an exported torch program", "it brings its own code, which is not run; save the "
         "state_dict of the network", members=(r"(^|/)(constants\.pkl|archive_format|models/model\.json)$",)),
    Kind("a Keras model", "Keras's names are not read; DeepMind's TensorFlow files and the public PyTorch ports have "
         "the same weights of I3D", members=(r"\.weights\.h5$",)),
    Kind("an archive of NumPy arrays", "give a file of torch's or safetensors'", members=(r"\.npy$",)),
    Kind("a zip archive with checkpoints in it", UNPACK,
         members=(r"\.(pt|pth|ckpt|safetensors|bin|index|pb|tar|h5|params)$",)),
    # State dicts of networks of this project.
    Kind("a ConvNet+LSTM of this project", TAKES, "convnet_lstm", names=(r"lstm\.input\.weight$",)),
    Kind("a 3D-Fused Two-Stream network of this project", TAKES, "fused_two_stream",
         names=(r"fusion\.conv3d\.weight$",)),
    Kind("a Two-Stream network of this project", TAKES, "two_stream", names=(r"rgb_logits\.weight$",)),
    Kind("a C3D with batch normalisation, of this project", TAKES, "c3d", names=(r"convolutions\.0\.0\.conv3d\.",)),
    Kind("an Inception-I3D", TAKES, "i3d", names=(r"Conv3d_1a_7x7\.conv3d\.weight$",)),
    Kind("an Inception-V1 on single frames (2D weights)",
         "`train --init` inflates it for i3d and takes it for the others but c3d (`inflate` in Python)", "inception2d",
         names=(r"(trunk\.)?Conv2d_1a_7x7\.conv2d\.weight$",)),
    # State dicts of others.
    Kind("the state of an optimiser without weights", "give the file with the network's state_dict",
         names=(r"(exp_avg|exp_avg_sq|momentum_buffer|square_avg|param_groups)$",)),
    Kind("C3D of Sports-1M", PLAIN_C3D, names=(r"(features\.)?conv1\.weight$", r"(features\.)?(conv3a|conv3_1)\."),
         shape=(64, None, 3, 3, 3)),
    Kind("C3D of mmaction2", PLAIN_C3D, names=(r"(backbone\.)?conv1a\.(conv\.)?weight$",)),
    Kind("SlowFast", RESNET, names=(r"(s1\.pathway1_stem|blocks\.0\.multipathway_blocks|(backbone\.)?slow_path)",)),
    Kind("X3D", RESNET, names=(r"(s1\.pathway0_stem\.conv_xy|blocks\.0\.conv\.conv_t|(backbone\.)?conv1_s)",)),
    Kind("a ResNet-50 I3D (or Slow, C2D) of the SlowFast repository", RESNET, names=(r"s1\.pathway0_stem",)),
    Kind("a transformer of pytorchvideo or SlowFast (MViT)", NONE_FITS, names=(r"blocks\.0\.attn\.",)),
    Kind("a ResNet-50 I3D (or Slow, C2D, R(2+1)D) of pytorchvideo", RESNET, names=(r"blocks\.1\.res_blocks\.",)),
    Kind("a ResNet-50 I3D (or Slow) of mmaction2", RESNET, names=(r"(backbone\.)?conv1\.conv\.weight$",
         r"(backbone\.)?layer1\.0\.conv1\.conv"), axes=5),
    Kind("a 2D ResNet (TSN, TSM) of mmaction2", RESNET, names=(r"(backbone\.)?conv1\.conv\.weight$",
         r"(backbone\.)?layer1\.0\.conv1\.conv"), axes=4),
    Kind("R(2+1)D or CSN of mmaction2", RESNET, names=(r"(backbone\.)?conv1\.(conv\.)?conv_s\.weight$",
         r"(backbone\.)?layer1\.0\.")),
    Kind("a 2D ResNet of TSN or TSM", RESNET, names=(r"base_model\.conv1\.weight$", r"base_model\.layer1\.0\."),
         axes=4),
    Kind("a ResNet-50 I3D of GluonCV", RESNET, names=(r"(conv1|first_stage\.0)\.weight$", r"res_layers\.0")),
    Kind("torchvision's 3D ResNet (r3d, mc3, r2plus1d)", RESNET, names=(r"stem\.0\.weight$", r"layer1\.0\.conv1\."),
         axes=5),
    Kind("a ResNet-50 I3D, as Tushar-N/pytorch-resnet3d has it", RESNET,
         names=(r"conv1\.weight$", r"layer1\.0\.conv1\."), shape=(64, None, 5, 7, 7)),
    Kind("a 3D ResNet", RESNET, names=(r"conv1\.weight$", r"layer1\.0\.conv1\."), axes=5),
    Kind("a 2D ResNet", RESNET, names=(r"conv1\.weight$", r"layer1\.0\.conv1\."), axes=4),
    Kind("a ResNet of caffe2, as the SlowFast and Non-local repositories publish", RESNET,
         names=(r"res2_0_branch2a_w",)),
    Kind("BNInception, the Inception-V2 of TSN", "its blocks are other ones than Inception-V1's; torchvision's "
         "GoogLeNet file is what `train --init` takes", names=(r"(base_model\.|backbone\.)?conv1_7x7_s2\.weight$",)),
    Kind("Inception-V3", "its blocks are other ones than Inception-V1's; torchvision's GoogLeNet file is what "
         "`train --init` takes", names=(r"Conv2d_1a_3x3\.conv\.weight$",)),
    Kind("S3D", f"its separable convolutions are not I3D's: {NONE_FITS}",
         names=(r"(base\.0\.conv_s\.|features\.0\.0\.0\.weight$|conv1\.conv1\.weight$|base\.0\.conv1\.)",)),
    Kind("a transformer", NONE_FITS,
         names=(r"(.*\.)?(blocks\d?|layers?|resblocks|features)\.0\.(\d\.)?(attn|attentions?|self_attn)\.",)),
    Kind("a VGG or AlexNet", NONE_FITS, names=(r"features\.0\.weight$",), axes=4),
)  # fmt: skip
