"""Clips held out of a training split: whole groups, some of every class, the same each time."""

import pyarrow as pa
import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading.held_out import group_of, held_out


def index_of(clips):
    """A table of (video_id, label); clips are whole videos."""
    ids, labels = zip(*clips, strict=True)
    return pa.table({"clip_id": pa.array(ids), "video_id": pa.array(ids), "label": pa.array(labels, pa.string())})


def ucf(classes=("Archery", "Bowling"), groups=18, clips=5):
    return [(f"v_{c}_g{g:02d}_c{n:02d}", c) for c in classes for g in range(1, groups + 1) for n in range(1, clips + 1)]


@pytest.mark.parametrize(
    ("video_id", "label", "group"),
    [
        ("v_Archery_g08_c01", "Archery", "Archery g08"),
        ("v_HandstandPushups_g25_c04", "HandstandPushups", "HandstandPushups g25"),
        ("April_09_brush_hair_u_nm_np1_ba_goo_0", "brush_hair", "April_09"),
        ("April_09_brush_hair_u_nm_np1_ba_goo_1", "brush hair", "April_09"),
        ("Fellowship_5_sword_f_cm_np1_fr_med_3", "sword", "Fellowship_5"),
        ("Fellowship_5_draw_sword_u_cm_np2_le_bad_12", "draw_sword", "Fellowship_5"),
        ("dQw4w9WgXcQ", "singing", "dQw4w9WgXcQ"),
    ],
)
def test_a_group_is_a_class_and_number_in_ucf_a_source_video_in_hmdb_and_else_the_video(video_id, label, group):
    assert group_of(video_id, label) == group


def test_no_group_is_on_both_sides_and_every_class_is_on_both():
    clips = ucf()
    train, out = held_out(index_of(clips), 0.1)
    assert sorted(train + out) == sorted(clip for clip, _ in clips)
    sides = [{clip.rpartition("_c")[0] for clip in side} for side in (train, out)]
    assert not sides[0] & sides[1]
    for label in ("Archery", "Bowling"):
        assert sum(label in clip for clip in out) == 10  # two of eighteen groups are the least that is a tenth


def test_a_source_video_with_clips_of_two_classes_is_held_out_of_both():
    clips = [(f"Film{n}_{action}_f_cm_np1_fr_med_0", action) for n in range(6) for action in ("sword", "ride_horse")]
    train, out = held_out(index_of(clips), 0.2)
    films = [{clip.partition("_")[0] for clip in side} for side in (train, out)]
    assert films[1]
    assert not films[0] & films[1]


def test_the_choice_depends_on_names_and_seed_and_not_on_the_order_of_rows():
    clips = ucf()
    assert held_out(index_of(clips), 0.2) == held_out(index_of(clips[::-1]), 0.2)
    assert held_out(index_of(clips), 0.2) != held_out(index_of(clips), 0.2, seed=1)


def test_a_class_of_one_group_is_trained_on_and_where_there_are_no_others_that_is_refused():
    lonely = [("v_Rare_g01_c01", "Rare"), ("v_Rare_g01_c02", "Rare")]
    train, out = held_out(index_of([*ucf(), *lonely]), 0.9)
    assert {clip for clip, _ in lonely} <= set(train)
    assert out
    with pytest.raises(UserError, match="no class has two groups"):
        held_out(index_of(lonely), 0.5)
