"""The viewer in a browser: what is shown, played, searched and marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import clip_id
from kinetics_pipeline.shards.codec import dequantise_flow
from kinetics_pipeline.workflows.datasets.viewer.server import ViewerServer
from kinetics_pipeline.workflows.datasets.viewer.view import PAGE
from kinetics_pipeline.workflows.pictures.colours import flow_colours
from tests.builders.clips import asked_clips, built, commit, planned
from tests.builders.viewers import COUNT, FRAMES, HOSTILE, asked, serving, stored


@pytest.fixture
def opened(browser: Any, server: ViewerServer) -> Iterator[Any]:
    """The viewer of all clips in a browser; whatever it complains of is an error of the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(server.address)
    tab.wait_for_selector(".grid li")
    tab.locator("select[name=scored]").select_option("")  # the mistakes of the run come first
    tab.get_by_text(f"of {COUNT} clips").wait_for()
    yield tab
    context.close()
    assert complaints == []


def shown_ids(tab: Any) -> list[str]:
    return list(tab.locator(".grid [data-mark]").evaluate_all("all => all.map(one => one.dataset.mark)"))


def test_clips_are_searched_paged_and_marked_in_the_browser(opened: Any, server: ViewerServer) -> None:
    total = f"of {COUNT} clips"
    opened.get_by_role("button", name="Next").click()
    opened.get_by_text(f"{PAGE + 1} to {COUNT} {total}").wait_for()
    opened.get_by_role("searchbox").fill("v02")
    opened.get_by_text("1 to 10 of 10 clips").wait_for()
    opened.locator("select[name=class]").select_option(label="left (18 of 18)")
    opened.get_by_text("1 to 3 of 3 clips").wait_for()
    opened.get_by_label("Mark v021").check()
    opened.get_by_text("1 clip is marked").wait_for()
    assert asked(server, "api/about")["marks"]["ids"] == [clip_id("v021", 21, 31)]
    opened.go_back()
    opened.get_by_text("1 to 10 of 10 clips").wait_for()


def test_with_a_run_its_mistakes_come_first(browser: Any, server: ViewerServer) -> None:
    tab = browser.new_page()
    tab.goto(server.address)
    mistakes = asked(server, "api/clips", scored=0, wanted="mistakes")
    tab.get_by_text(f"of {mistakes['total']} clips").wait_for()
    assert mistakes["total"] < COUNT
    assert shown_ids(tab)[0] == mistakes["clips"][0]["clip_id"]
    tab.close()


def test_labels_and_reasons_are_text_in_the_viewer(opened: Any) -> None:
    opened.locator(".card", has_text=HOSTILE).first.click()
    opened.locator("#clip-about", has_text=HOSTILE).wait_for()
    assert opened.evaluate("window.hurt") is None
    assert opened.locator("img[onerror]").count() == 0
    assert opened.locator("script").count() == 1


def pixels(tab: Any, name: str) -> np.ndarray:
    """What a canvas shows: uint8 [H, W, 3]."""
    read = "c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    height, width, *values = tab.locator(name).evaluate(read)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def test_a_clip_plays_rgb_and_flow_of_the_same_frame(opened: Any, dataset: Dataset) -> None:
    clip = clip_id("v012", 12, 22)
    opened.get_by_role("searchbox").fill("v012")
    opened.get_by_text("1 to 1 of 1 clips").wait_for()
    opened.locator(".card").click()
    opened.locator("#now", has_text=re.compile(r"Frame ([4-9]|1\d) of")).wait_for()
    opened.locator("#play").click()
    opened.locator("#full").select_option("10")
    opened.locator("#at").fill("17")
    opened.get_by_text(f"Frame 18 of {FRAMES} · 0.68 s · 12.68 s of the video").wait_for()
    images = stored(dataset, clip)
    rgb = simplejpeg.decode_jpeg(images["rgb"][17])
    assert np.abs(pixels(opened, "#rgb").astype(int) - rgb).mean() < 2
    grey = simplejpeg.decode_jpeg(images["flow"][17], colorspace="GRAY")
    flow = dequantise_flow(grey.reshape(2, *rgb.shape[:2]))
    difference = np.abs(pixels(opened, "#flow").astype(int) - flow_colours(flow, 10.0))
    assert difference.mean() < 1
    assert (difference > 8).mean() < 0.01
    opened.keyboard.press("Escape")
    opened.locator("#clip").wait_for(state="hidden")


def test_repeated_frames_are_marked(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(number: int, count: int, height: int, width: int) -> np.ndarray:
        return np.repeat(drawn(number, count // 2, height, width), 2, axis=0)

    from tests.builders import clips

    drawn = clips.drawn_frames
    monkeypatch.setattr(clips, "drawn_frames", twice)
    made = built(tmp_path / "dataset", 1, recipe=Recipe(short_side=48, flow="none"))
    with serving(made, tmp_path / "marked.txt") as server:
        tab = browser.new_page()
        tab.goto(server.address + "#clip=v000")
        tab.get_by_text("20 frames repeat the one before").wait_for()
        tab.locator("#play").click()
        tab.locator("#at").fill("33")
        tab.get_by_text("Frame 34 of 40 · 1.32 s · 1.32 s of the video · repeats the frame before").wait_for()
        assert tab.locator("#flow").is_hidden()
        tab.close()


def test_a_cell_of_the_confusion_leads_to_its_clips_in_the_browser(opened: Any, server: ViewerServer) -> None:
    opened.locator("select[name=scored]").select_option(index=1)
    opened.locator("#cells summary").click()
    *_, clips = asked(server, "api/cells", scored=0)["cells"][0]
    opened.locator("#cells tbody button").first.click()
    opened.locator("#shown", has_text=f"of {clips} clips: ").wait_for()
    assert len(shown_ids(opened)) == clips


def test_shards_that_are_committed_while_the_viewer_is_open_are_told_and_shown(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinetics_pipeline.workflows.datasets.viewer.reading._LOOK_FOR_SHARDS", 0.0)
    made = built(tmp_path / "dataset", 4, recipe=Recipe(short_side=48, flow="none"))
    with serving(made, tmp_path / "marked.txt") as server:
        assert asked(server, "api/news")["changed"] == 0
        for shard in planned(made, asked_clips(6)).shards():
            commit(made, shard.name, shard.clips, plan=1)
        assert asked(server, "api/clips")["total"] == 4
        tab = browser.new_page()
        tab.goto(server.address)
        tab.get_by_text("1 shard has changed since the clips were read.").wait_for()
        tab.get_by_role("button", name="Show them").click()
        tab.get_by_text("1 to 6 of 6 clips").wait_for()
        tab.locator("#news").wait_for(state="hidden")
        assert asked(server, "api/news") | {"read": 0} == {
            "times": 2,
            "changed": 0,
            "failure": "",
            "reading": False,
            "read": 0,
            "markers": 2,
        }
        tab.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_window(opened: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    opened.set_viewport_size({"width": width, "height": 800})
    opened.emulate_media(color_scheme=scheme)
    opened.locator("select[name=scored]").select_option(index=1)
    opened.locator("main > div > details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    opened.locator("#cells tbody tr").first.wait_for()
    for step in ("grid", "clip"):
        if step == "clip":
            opened.locator(".card").first.click()
            opened.locator("#now:not(:empty)").wait_for()
        found = axe.run(opened).response
        assert len(found["passes"]) > 10
        assert [one["id"] for one in found["violations"] if one["impact"] in ("serious", "critical")] == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
