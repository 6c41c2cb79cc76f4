"""A file is named by what is written to it, a folder not like a file: said before the work."""

import pytest

from kinetics_pipeline.workflows.cli.app import run

FOLDER = ", which is the name of a file; allowed: a folder"
PICTURE = "; allowed: a .png or .jpg file"
LIST = "; allowed: a file with .txt or no suffix"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "d", "--certificate", "c.txt"], "--certificate is HERE/c.txt; allowed: a file with .json"),
        (["report", "d", "--html", "r.json"], "--html is HERE/r.json; allowed: a .html file"),
        (["report", "d", "--serve", "--marks", "m.json"], "--marks is HERE/m.json" + LIST),
        (["compare", "a", "b", "--common", "c.json"], "--common is HERE/c.json" + LIST),
        (["evaluate", "d", "--rgb", "r", "--output", "o.csv"], "--output is HERE/o.csv; allowed: a file with .json"),
        (["predict", "v.mp4", "--rgb", "r", "--picture", "p.gif"], "a picture is to go to HERE/p.gif" + PICTURE),
        (["tools", "filters", "f.txt"], "a picture is to go to HERE/f.txt" + PICTURE),
        (["tools", "export", "d", "--format", "mp4", "--to", "x.mp4"], "--to is HERE/x.mp4" + FOLDER),
        (["tools", "convert", "d", "--layout", "array", "--output", "x.arrow"], "--output is HERE/x.arrow" + FOLDER),
        (["build", "a.csv", "--output", "x.parquet"], "--output is HERE/x.parquet" + FOLDER),
        (["build", "a.csv", "--output", "s3://b/x.tar"], "--output is s3://b/x.tar" + FOLDER),
        (["train", "d", "--run", "run.pt"], "--run is HERE/run.pt" + FOLDER),
        (["features", "v.mp4", "--rgb", "r", "--to", "f.npy"], "--to is HERE/f.npy" + FOLDER),
        (["tools", "convert-checkpoint", "a.pt", "b.json"], "TARGET is HERE/b.json; allowed: a name that ends in"),
        (["paper", "schedules", "--picture", "s.pdf"], "a picture is to go to HERE/s.pdf" + PICTURE),
    ],
)  # fmt: skip
def test_a_suffix_that_does_not_match_what_is_written_is_refused(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("note: ")]
    assert line.startswith(f"kinetics-pipeline: {said.replace('HERE', str(tmp_path))}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_may_have_any_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs.tar").mkdir()
    assert run(["train", str(tmp_path / "nowhere"), "--run", str(tmp_path / "runs.tar")]) == 2
    assert "nowhere" in capsys.readouterr().err
