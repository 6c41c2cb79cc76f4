"""Names of classes as people write them."""

from pathlib import Path

import pytest

from kinetics_pipeline.annotations.class_names import alike, chosen_classes, matched, spelling
from kinetics_pipeline.errors import UserError

LABELS = ["archery", "petting animal (not cat)", "massaging person's head", "dog, big", "dog", "eating burger"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("massaging person's head", "massaging persons head"),
        ("massaging person's head", "massaging_person_s_head"),
        ("massaging person\u2019s head", "Massaging person's head"),
        ("petting animal (not cat)", "petting_animal_not_cat"),
        ("petting animal (not cat)", "petting animal not cat"),
        ("tap-dancing", "Tap Dancing"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_a_name_has_one_key_however_it_is_written(one, other):
    assert spelling(one) == spelling(other)
    (line,) = alike([one, "archery", other])
    assert repr(one) in line
    assert repr(other) in line


@pytest.mark.parametrize(("one", "other"), [("class 1 2", "class 12"), ("+", "-"), ("run", "runs"), ("", " x")])
def test_other_names_stay_apart(one, other):
    assert spelling(one) != spelling(other)
    assert alike([one, other]) == []


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        (["archery,dog"], ("archery", "dog")),
        (["dog, big"], ("dog, big",)),
        (["archery,dog, big,dog"], ("archery", "dog, big", "dog")),
        (["dog, big", "dog"], ("dog, big", "dog")),
        (["petting_animal_not_cat, Archery"], ("petting animal (not cat)", "archery")),
        (["dog,,dog ,"], ("dog",)),
        (["unknown, dog"], ("unknown", "dog")),
        ([""], ()),
    ],
)
def test_classes_may_have_commas_in_their_names(values, chosen):
    assert chosen_classes(values, LABELS) == chosen


def test_a_file_names_a_class_a_line(tmp_path: Path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfdog, big\r\n\r\nmassaging_persons_head\r\n")
    assert chosen_classes([str(path), "archery"], LABELS) == ("dog, big", "massaging person's head", "archery")
    path.write_bytes(b"\xff\xffx")
    with pytest.raises(UserError, match=r"classes file .*classes\.txt is not"):
        chosen_classes([str(path)], LABELS)


def test_a_name_that_two_labels_are_spelt_like_means_neither():
    assert matched("TAP dance", ["tap-dance", "tap dance"]) is None
    assert matched("tap dance", ["tap-dance", "tap dance"]) == "tap dance"
