"""What a user sees who types something wrong, and what the flags make of it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.sources.http.template import UrlTemplate
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.datasets.status import look
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig, ytdlp_options
from kinetics_pipeline.workflows.flags.record import as_record, command_line
from tests.builders.clips import asked_clips, built


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["buidl"], "buidl"),
        (["build", "a.csv"], "--output is missing"),
        (["train", "d"], "--run is missing"),
        (["status"], "DATASET is missing"),
        (["compare", "a"], "SECOND is missing"),
        (["tools", "forget", "d", "--reason", "r"], "--ids is missing, which tools forget needs"),
        (["build", "a.csv", "--output"], "--output has no value"),
        (["verify", "a", "b"], "b is given, but verify takes no more"),
        (["build", "--output", "o"], "ANNOTATIONS"),
        (["build", "a.csv", "--output", "o", "--layout", "zip"], '"parquet", "array"'),
        (["build", "a.csv", "--output", "o", "--fps", "many"], "many"),
        (["build", "a.csv", "--output", "o", "--limit", "0"], "--limit"),
        (["build", "a.csv", "--output", "o", "--max-disk", "2QB"], "2QB"),
        (["build", "a.csv", "--output", "o", "--max-wait", "soon"], "soon"),
        (["build", "a.csv", "--output", "o", "--ytdlp-option", "format=bv"], "format=bv"),
        (["build", "a.csv", "--output", "o", "--proxy", "not a proxy"], "not a proxy"),
        (["build", "a.csv", "--output", "o", "--proxy", "ftp://host:21"], "ftp://host:21"),
        (["build", "a.csv", "--output", "o", "--proxy", "host:port"], "host:port"),
        (["build", "absent.csv", "--output", "o"], "absent.csv"),
        (["build", "a.csv", "--output", "o\udcff"], "o\\udcff"),
        (["plan"], "ANNOTATIONS"),
        (["status", "nowhere"], "nowhere"),
        (["evaluate", "o"], "--rgb"),
        (["predict", "v.mp4"], "--rgb"),
        (["--config", "absent.toml", "plan", "a.csv"], "absent.toml"),
        (["--config", "x.yaml", "plan", "a.csv"], "x.yaml"),
    ],
)
def test_wrong_input_is_one_line_on_stderr_that_names_it_and_exit_2(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert named in said.err


@pytest.mark.parametrize(
    "words",
    [["predict", "x" * 300, "--rgb", "a.pt"], ["evaluate", "dataset", "--rgb", "x" * 300]],
    ids=["video", "run"],
)
def test_a_name_that_is_too_long_for_any_file_is_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    built(tmp_path / "dataset", 1, recipe=Recipe(short_side=48, flow="none"))
    assert run(words) == 2
    said = capsys.readouterr().err
    assert said.endswith("x: File name too long\n")
    assert len(said.splitlines()) == 1


def test_flags_come_from_a_file_and_those_on_the_command_line_win(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "kinetics_pipeline.workflows.building.job.build", lambda files, config: seen.append((files, config))
    )
    file = tmp_path / "job.toml"
    file.write_text('short_side = 128\nfps = 12\nsource = ["/a,b", "youtube"]\n')
    assert run(["--config", str(file), "build", "x.csv", "--output", "o", "--fps", "10", "--max-wait", "2m"]) == 0
    files, config = seen[0]
    assert files == ("x.csv",)
    assert (config.short_side, config.fps, config.source, config.max_wait) == (128, 10, ("/a,b", "youtube"), 120)


def test_an_unknown_flag_in_a_config_file_is_named(tmp_path, capsys):
    file = tmp_path / "job.toml"
    file.write_text("shrot_side = 128\n")
    assert run(["--config", str(file), "plan", "x.csv"]) == 2
    assert "shrot" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[plan]\nshort_side = 128\n", "short_side = \n"])
def test_a_config_file_that_would_not_be_understood_is_named(text, tmp_path, capsys):
    file = tmp_path / "job.toml"
    file.write_text(text)
    assert run(["--config", str(file), "plan", "x.csv"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "job.toml" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_an_output_that_is_full_is_one_line():
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "workflows", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "full" in ended.stderr


def test_a_run_that_would_go_with_a_jobs_working_folder_is_refused(tmp_path, monkeypatch, capsys):
    copy = tmp_path / "working_dir_files" / "_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert run(["train", "/data", "--run", "here"]) == 2
    assert "--run is here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("ok", "kinetics-pipeline train 'PLACE'"), ("network", "build x --retry network"), ("gone", "report 'PLACE'")],
)
def test_the_next_command_can_be_copied_into_a_shell_and_helps(outcome, expected, tmp_path):
    place = tmp_path / "my data"
    outcomes = {clip.clip_id: outcome for clip in asked_clips(2)}
    dataset = built(place, 2, recipe=Recipe(short_side=48, flow="none"), outcomes=outcomes)
    dataset.store.write("state/run.json", json.dumps({"command": "kinetics-pipeline build x", "config": {}}).encode())
    assert expected.replace("PLACE", str(place)) in look(dataset)["next"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"command": "x", "config": null}'])
def test_a_damaged_note_of_the_last_run_is_named_in_a_line(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    built(tmp_path / "data", 1, outcomes={asked_clips(1)[0].clip_id: "ok"}).store.write("state/run.json", text.encode())
    assert run(["status", "data"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "state/run.json is damaged" in said


SECRETS = BuildConfig(
    output="o",
    source=("https://me:secret1@mirror.example/get?id={video_id}&token=secret2", "youtube"),
    proxy=("http://me:secret3@host:3128", "me:secret4@other:3128"),
    ytdlp_option=('http_headers={"X-Token": "secret5"}', "retries=7", 'password="secret6"'),
    cookies=Path("/home/me/c.txt"),
)


@pytest.mark.parametrize("kept", [False, True])
def test_a_record_and_a_command_to_go_on_hold_no_secret(kept):
    files = ["https://me:secret7@host/k400.csv?sig=secret8"]
    for text in (json.dumps(as_record(SECRETS)), command_line("build", files, SECRETS, kept=kept)):
        assert "secret" not in text
        assert "id={video_id}" in text
    for place in ("/home/me", "host:3128", "other:3128"):
        assert place not in json.dumps(as_record(SECRETS))
        assert (place in command_line("build", files, SECRETS, kept=kept)) == (not kept)
    assert "secret" not in repr(UrlTemplate(SECRETS.source[0]))


def test_the_printed_command_says_what_has_to_be_put_back_and_repeats_the_rest():
    command = shlex.split(command_line("build", ["x.csv"], SECRETS))
    assert command[command.index("--cookies") + 1] == "/home/me/c.txt"
    assert "retries=7" in command
    assert "http_headers=WITHHELD" in command
    assert "http://WITHHELD@host:3128" in command


@pytest.mark.parametrize(
    "flags",
    [
        ["--ytdlp-option", "http_headers={secret}"],
        ["--ytdlp-option", "Authorization: secret"],
        ["--ytdlp-option", 'http_headers="secret"'],
        ["--ytdlp-option", 'password="secret"'],
        ["--source", "ftp://me:secret@host/{video_id}.mp4"],
        ["--source", "https://me:secret@host/file.mp4?key=secret"],
        ["--ytdlp-option", 'http_headers={"Authorization": "secret"}'],
        ["--output", "s3://key:secret@bucket/folder"],
    ],
)
def test_what_is_refused_is_named_without_its_secret(flags, capsys, tmp_path):
    asked = tmp_path / "asked.csv"
    asked.write_text("label,youtube_id,time_start,time_end,split\nrunning,abc,0,1,train\n")
    place = [] if "--output" in flags else ["--output", str(tmp_path / "o")]
    assert run(["build", str(asked), *place, *flags]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "secret" not in said


def test_the_command_to_go_on_repeats_what_differs_from_the_defaults():
    config = BuildConfig(output="/my data", source=("a b", "youtube"), limit=3)
    assert command_line("build", ["x.csv"], config) == (
        "kinetics-pipeline build x.csv --source 'a b' --source youtube --limit 3 --output '/my data'"
    )


def test_ytdlp_options_are_json():
    assert ytdlp_options(["socket_timeout=20", 'format="bv"']) == {"socket_timeout": 20, "format": "bv"}
    with pytest.raises(UserError, match="KEY=JSON"):
        ytdlp_options(["socket_timeout"])


def test_a_private_address_that_was_typed_is_fetched_from(tmp_path):
    asked = tmp_path / "asked.csv"
    asked.write_text("label,youtube_id,time_start,time_end,split\nrunning,abc,0,1,train\n")
    template = "http://10.0.0.5/{video_id}.mp4"
    assert run(["plan", str(asked), "--source", template]) == 0
