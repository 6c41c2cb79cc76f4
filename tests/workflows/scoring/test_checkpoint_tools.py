"""Foreign weights through the command line: converted, scored on DeepMind's sample, drawn."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinetics_pipeline.models import build_model, load_checkpoint, read_checkpoint
from kinetics_pipeline.models.inception2d import InceptionFeatures
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig
from kinetics_pipeline.workflows.scoring.deepmind_sample import deepmind_sample
from kinetics_pipeline.workflows.scoring.filters import filters, sequence
from tests.builders.motion import CLASSES, build_motion
from tests.builders.trained_streams import save_network


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build_motion(tmp_path_factory.mktemp("motion"), splits={"train": 2, "val": 2}, count=24)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A bare state dict as the public PyTorch port has it, of 4 classes."""
    torch.manual_seed(0)
    weights = build_model("i3d", 4, 3).state_dict()
    file = tmp_path_factory.mktemp("port") / "rgb_imagenet.pt"
    torch.save(dict(weights), file)
    return file


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_foreign_file_becomes_one_of_ours_that_evaluate_takes(dataset, port, tmp_path, suffix, capsys):
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    ours = tmp_path / f"ours{suffix}"
    assert run(["tools", "convert-checkpoint", str(port), str(ours), "--labels", str(tmp_path / "labels.txt")]) == 0
    assert "(port): i3d, 4 classes, 3 channels" in capsys.readouterr().out
    theirs = torch.load(port, weights_only=True)
    checkpoint = read_checkpoint(ours)
    assert all(torch.equal(checkpoint.state_dict[name], tensor) for name, tensor in theirs.items())
    model = build_model("i3d", 4, 3)
    assert load_checkpoint(model, ours) == "own"
    words = ["evaluate", dataset.store.uri, "--rgb", str(ours), "--crop", "32", "--loaders", "0"]
    assert run(words) == 2  # the motion dataset's short side is not the released networks'
    assert "short_side" in capsys.readouterr().err
    assert run([*words, "--any-recipe"]) == 0


def test_a_plain_safetensors_file_of_the_port_is_read(port, tmp_path):
    from safetensors.torch import save_file

    save_file(torch.load(port, weights_only=True), tmp_path / "port.safetensors")
    model = build_model("i3d", 4, 3)
    assert load_checkpoint(model, tmp_path / "port.safetensors") == "port"


def test_a_damaged_safetensors_file_is_refused_in_a_line(port, tmp_path, capsys):
    file = tmp_path / "cut.safetensors"
    assert run(["tools", "convert-checkpoint", str(port), str(file)]) == 0
    file.write_bytes(file.read_bytes()[:1000])
    capsys.readouterr()
    assert run(["tools", "convert-checkpoint", str(file), str(tmp_path / "x.pt")]) == 2
    said = capsys.readouterr().err
    assert "cut short or damaged" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "labels", "named"),
    [("x.onnx", None, ".safetensors"), ("x.pt", "one\ntwo", "2 classes; the network has 4")],
)
def test_what_cannot_be_converted_is_refused(port, tmp_path, target, labels, named, capsys):
    words = ["tools", "convert-checkpoint", str(port), str(tmp_path / target)]
    if labels:
        (tmp_path / "labels.txt").write_text(labels)
        words += ["--labels", str(tmp_path / "labels.txt")]
    assert run(words) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / target).exists()


def test_deepmind_s_sample_prints_norms_of_added_logits_beside_the_expected_ones(port, tmp_path, capsys):
    torch.manual_seed(1)
    flow = build_model("i3d", 4, 2)
    torch.save(flow.state_dict(), tmp_path / "flow.pt")
    numbers = np.random.default_rng(0)
    clips = {
        stream: numbers.uniform(-1, 1, (1, 16, 32, 32, c)).astype(np.float32) for stream, c in (("rgb", 3), ("flow", 2))
    }
    for stream, clip in clips.items():
        np.save(tmp_path / f"v_CricketShot_g04_c01_{stream}.npy", clip)
    (tmp_path / "label_map.txt").write_text("a\nb\nc\nd\n")
    found = deepmind_sample(tmp_path, EvaluateConfig(rgb=port, flow=tmp_path / "flow.pt"))
    rgb = build_model("i3d", 4, 3)
    rgb.load_state_dict(torch.load(port, weights_only=True))
    with torch.no_grad():
        logits = [
            model.eval()(torch.from_numpy(clips[stream]).permute(0, 4, 1, 2, 3))[0].numpy()
            for stream, model in (("rgb", rgb), ("flow", flow))
        ]
    assert found["rgb"]["norm"] == pytest.approx(np.linalg.norm(logits[0]), rel=1e-4)
    assert found["joint"]["norm"] == pytest.approx(np.linalg.norm(logits[0] + logits[1]), rel=1e-4)
    assert found["joint"]["top"][0][0] == "abcd"[int((logits[0] + logits[1]).argmax())]
    assert not found["joint"]["agrees"]
    said = capsys.readouterr().out
    assert "138.468658" in said
    assert "differs" in said


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (lambda folder: None, "no *_rgb.npy"),
        (lambda folder: np.save(folder / "x_rgb.npy", np.zeros((79, 3))), "float [1, T, H, W, 3]"),
        (lambda folder: np.save(folder / "x_rgb.npy", np.array([{}]), allow_pickle=True), "not an array that can"),
    ],
)
def test_a_sample_that_is_none_is_refused_in_a_line(port, tmp_path, write, named, capsys):
    write(tmp_path)
    assert run(["evaluate", "--deepmind-sample", str(tmp_path), "--rgb", str(port)]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert len(said.splitlines()) == 1


def test_filters_of_a_2d_network_stand_in_every_slice_of_the_inflated_one(tmp_path):
    from kinetics_pipeline.models import inflate

    torch.manual_seed(0)
    flat, deep = InceptionFeatures(3), build_model("i3d", 4)
    inflate(deep, flat.state_dict())
    torch.save(flat.state_dict(), tmp_path / "flat.pt")
    torch.save(deep.state_dict(), tmp_path / "deep.pt")
    picture = filters(tmp_path / "f.png", tmp_path / "deep.pt", None, tmp_path / "flat.pt")
    assert cv2.imread(str(tmp_path / "f.png")).shape == picture.shape
    one = sequence(flat.Conv2d_1a_7x7.conv2d.weight.detach().numpy()[:, :, None])
    seven = sequence(deep.Conv3d_1a_7x7.conv3d.weight.detach().numpy())
    for time in range(7):
        left = time * (one.shape[1] + 12)
        assert np.abs(seven[:, left : left + one.shape[1]].astype(int) - one).max() <= 1


def test_a_file_without_such_a_layer_is_refused(port, tmp_path, capsys):
    assert run(["tools", "filters", str(tmp_path / "f.png"), "--flow", str(port)]) == 2
    assert "I3D of 2 channels" in capsys.readouterr().err
    assert run(["tools", "filters", str(tmp_path / "f.png")]) == 2


@pytest.mark.parametrize("model", ["convnet_lstm", "two_stream", "fused_two_stream", "inception2d"])
def test_imagenet_s_2d_weights_fill_every_inception_of_a_network(model):
    from kinetics_pipeline.models import inflate

    torch.manual_seed(0)
    source = InceptionFeatures(3).state_dict()
    network = build_model(model, 4)
    inflate(network, source)
    found = network.state_dict()
    names = [name for name in found if name.endswith("Mixed_3b.b0.conv2d.weight")]
    assert len(names) == (2 if "stream" in model else 1)
    assert all(torch.equal(found[name], source["Mixed_3b.b0.conv2d.weight"]) for name in names)
    if "stream" in model:
        first = found["flow.Conv2d_1a_7x7.conv2d.weight"]
        mean = source["Conv2d_1a_7x7.conv2d.weight"].mean(dim=1)
        assert first.shape[1] == 20
        assert all(torch.equal(first[:, channel], mean) for channel in range(20))


def test_c3d_says_that_it_takes_no_2d_weights():
    from kinetics_pipeline.models import InputError, inflate

    with pytest.raises(InputError, match="no Inception-V1"):
        inflate(build_model("c3d", 4, crop_size=32), InceptionFeatures(3).state_dict())


def test_predict_takes_a_url_of_a_file(dataset, tmp_path, videos, capsys):
    from tests.fake_youtube import FileServer

    network = save_network(dataset, "rgb", tmp_path / "rgb.pt")
    video = Path(videos(width=48, height=40, seconds=1.0, fps=25))
    served = tmp_path / "served"
    served.mkdir()
    (served / "some clip.mp4").write_bytes(video.read_bytes())
    with FileServer(served) as server:
        host = server.template.partition("{")[0]
        assert run(["predict", f"{host}some%20clip.mp4?token=secret", "--rgb", str(network)]) == 0
        url = capsys.readouterr().out
        assert run(["predict", str(video), "--rgb", str(network)]) == 0
        assert url.splitlines()[1:] == capsys.readouterr().out.splitlines()[1:]
        assert run(["predict", f"{host}absent.mp4?token=secret", "--rgb", str(network)]) == 1
    said = capsys.readouterr().err
    assert "absent.mp4" in said
    assert "secret" not in url + said
    assert len(said.splitlines()) == 1


def test_a_youtube_url_without_a_video_is_refused(dataset, tmp_path, capsys):
    network = save_network(dataset, "rgb", tmp_path / "rgb.pt")
    assert run(["predict", "https://www.youtube.com/feed/subscriptions", "--rgb", str(network)]) == 2
    assert "youtu.be/ID" in capsys.readouterr().err
