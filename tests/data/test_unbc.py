"""UNBC-McMaster is read frame by frame and clip by clip, and what is none is explained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import plant, refused

from evenface.data.datasets import read_dataset
from evenface.data.labels import level_values


def unbc(root, values, twice=""):
    """Write an archive: person, sequence, PSPI of each frame, ratings."""
    for person, sequence, pspi, ratings in values:
        for number, value in enumerate(pspi, 1):
            stem = f"{person}/{sequence}/{sequence}{number:03d}"
            label = f"Frame_Labels/{twice and 'Frame_Labels/'}PSPI/{stem}_facs.txt"
            plant(root, f"Images/{twice and 'Images/'}{stem}.png", label)
            (root / label).write_text(f"   {value:.7e}\n")
        for scale, value in ratings.items():
            path = f"Sequence_Labels/{twice and 'Sequence_Labels/'}{scale}/{person}/{sequence}.txt"
            plant(root, path)
            (root / path).write_text(f"   {value:.7e}\r\n")
    return root


RATED = {"OPR": 3, "VAS": 7, "AFF": 9, "SEN": 15}

ARCHIVE = [
    ("042-ll042", "ll042t1aaaff", [0, 0, 1, 2, 3], RATED),
    ("042-ll042", "ll042t1aeaff", [4, 5, 6, 15], {**RATED, "OPR": 5}),
    ("043-jh043", "jh043t1aeaff", [0, 1], {**RATED, "OPR": 0}),
]


@pytest.mark.parametrize("twice", ["", "twice"])
def test_unbc_frames_in_six_levels(tmp_path, twice):
    got = read_dataset("unbc", unbc(tmp_path, ARCHIVE, twice))
    assert (got.content, got.ordered, got.classes) == ("stills", True, ("0", "1", "2", "3", "4-5", "6-16"))
    assert got.table["pspi"].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 15, 0, 1]
    assert got.labels.tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 5, 0, 1]
    assert got.table["clip"].tolist()[4:6] == ["042-ll042/ll042t1aaaff", "042-ll042/ll042t1aeaff"]
    assert got.table["sample"][0] == "042-ll042/ll042t1aaaff/ll042t1aaaff001"
    assert set(got.table["subject"]) == {"042-ll042", "043-jh043"}
    assert all((tmp_path / path).is_file() for path in got.table["path"])
    assert got.notes == ()


@given(st.lists(st.integers(0, 16), min_size=1, max_size=12), st.sets(st.integers(1, 16), min_size=1))
def test_unbc_levels_by_a_plain_loop(tmp_path_factory, pspi, further):
    root = unbc(tmp_path_factory.mktemp("unbc"), [("042-ll042", "a", pspi, {})])
    starts = [0, *sorted(further)]
    got = read_dataset("unbc", root, {"levels": starts})
    for value, name in zip(pspi, (got.classes[y] for y in got.labels), strict=True):
        low, _, high = name.partition("-")
        assert int(low) in starts
        assert int(low) <= value <= int(high or low)


def test_unbc_all_levels_and_others(tmp_path):
    unbc(tmp_path, ARCHIVE)
    every = read_dataset("unbc", tmp_path, {"levels": "all"})
    assert every.classes == tuple(map(str, range(16)))
    assert level_values(every.classes).tolist() == list(range(16))
    assert every.labels.tolist() == every.table["pspi"].astype(int).tolist()
    unbc(tmp_path, [("044-xx044", "a", [16], {})])
    assert read_dataset("unbc", tmp_path, {"levels": "all"}).classes == tuple(map(str, range(17)))
    assert every.notes == ("levels of pspi without samples: 7, 8, 9, 10, 11, 12, 13, 14",)
    assert read_dataset("unbc", tmp_path, {"levels": [0, 1]}).classes == ("0", "1-16")
    for levels in ([0], [1, 2], [0, 2, 2], [0, 17]):
        with refused(f"unbc: invalid levels {levels}"):
            read_dataset("unbc", tmp_path, {"levels": levels})


@pytest.mark.parametrize("scale", ["opr", "vas", "aff", "sen"])
def test_unbc_clips_are_labelled_by_what_was_rated(tmp_path, scale):
    got = read_dataset("unbc", unbc(tmp_path, ARCHIVE), {"unit": "clip", "scale": scale})
    expected = [3, 5, 0] if scale == "opr" else [RATED[scale.upper()]] * 3
    assert got.table[scale].tolist() == expected
    assert [got.classes[label] for label in got.labels] == list(map(str, expected))
    assert got.content == "clips"
    assert all((tmp_path / path).is_dir() for path in got.table["path"])
    assert got.table["path"][0] == "Images/042-ll042/ll042t1aaaff"


def test_unbc_clips_are_labelled_by_the_observer_or_by_their_highest_frame(tmp_path):
    unbc(tmp_path, ARCHIVE)
    observed = read_dataset("unbc", tmp_path, {"unit": "clip", "scale": "opr"})
    assert read_dataset("unbc", tmp_path, {"unit": "clip"}).hash == observed.hash
    got = read_dataset("unbc", tmp_path, {"unit": "clip", "scale": "pspi"})
    assert got.table["pspi"].tolist() == [3, 15, 1]
    assert got.table["sample"].tolist() == observed.table["sample"].tolist()
    assert got.table["path"].tolist() == observed.table["path"].tolist()
    with refused("frames are labelled with pspi, not with vas\n  Set unit: clip."):
        read_dataset("unbc", tmp_path, {"scale": "vas"})


def test_unbc_notes_what_has_no_partner(tmp_path):
    unbc(tmp_path, ARCHIVE)
    images = tmp_path / "Images" / "042-ll042" / "ll042t1aaaff"
    (images / "ll042t1aaaff001.png").unlink()
    (tmp_path / "Frame_Labels/PSPI/043-jh043/jh043t1aeaff/jh043t1aeaff002_facs.txt").unlink()
    (tmp_path / "Sequence_Labels/OPR/043-jh043/jh043t1aeaff.txt").unlink()
    (tmp_path / "Images" / "044-xx044").mkdir()
    plant(tmp_path, "Images/.DS_Store", "Images/042-ll042/ll042t1aaaff/._ll042t1aaaff001.png")
    empty = "folders without images: 044-xx044"
    got = read_dataset("unbc", tmp_path)
    assert len(got) == 9
    assert got.notes == (
        empty,
        "1 frames without label are excluded, such as 043-jh043/jh043t1aeaff/jh043t1aeaff002.png",
        "1 labels have no frame, such as ll042t1aaaff/ll042t1aaaff001_facs.txt",
    )
    rated = read_dataset("unbc", tmp_path, {"unit": "clip"})
    assert len(rated) == 2
    said = "1 sequences without label are excluded, such as 043-jh043/jh043t1aeaff"
    assert rated.notes[:2] == (empty, said)


@pytest.mark.parametrize(
    ("content", "shown"),
    [(b"17", "'17'"), (b"-1", "'-1'"), (b"", "nothing"), (b"nan", "'nan'"), (b"1 2", "'1 2'")],
)
def test_unbc_leaves_out_and_names_what_is_off_its_scale(tmp_path, content, shown):
    whole = read_dataset("unbc", unbc(tmp_path, ARCHIVE))
    name = "042-ll042/ll042t1aaaff/ll042t1aaaff002"
    path = tmp_path / f"Frame_Labels/PSPI/{name}_facs.txt"
    path.write_bytes(content)
    got = read_dataset("unbc", tmp_path)
    assert got.table["sample"].tolist() == [sample for sample in whole.table["sample"] if sample != name]
    said = "1 samples with an invalid label are excluded, expected one number from 0 to"
    assert f"{said} 16: {name}_facs.txt contains {shown}" in got.notes
    path = tmp_path / "Sequence_Labels/VAS/042-ll042/ll042t1aaaff.txt"
    path.write_bytes(b"11")
    got = read_dataset("unbc", tmp_path, {"unit": "clip", "scale": "vas"})
    assert "042-ll042/ll042t1aaaff" not in set(got.table["sample"])
    assert f"{said} 10: 042-ll042/ll042t1aaaff.txt contains '11'" in got.notes


def test_unbc_refuses_an_archive_without_any_value_of_the_scale(tmp_path):
    unbc(tmp_path, ARCHIVE)
    for path in (tmp_path / "Frame_Labels").rglob("*.txt"):
        path.write_text("17")
    with refused("_facs.txt contains '17', expected one number from 0 to 16"):
        read_dataset("unbc", tmp_path)


def test_unbc_says_which_part_is_missing(tmp_path):
    with refused(f"unbc: no folder Images in {tmp_path}, which has nothing\n  Expected Images/"):
        read_dataset("unbc", tmp_path)
    plant(tmp_path, "Images/042-ll042/a/readme.txt")
    with refused("unbc: no sequences of images in"):
        read_dataset("unbc", tmp_path)
    plant(tmp_path, "Images/042-ll042/a/a001.png")
    with refused("unbc: no folder Frame_Labels in"):
        read_dataset("unbc", tmp_path)
    with refused("unbc: no folder Sequence_Labels in"):
        read_dataset("unbc", tmp_path, {"unit": "clip"})
    (tmp_path / "Frame_Labels").mkdir()
    (tmp_path / "Sequence_Labels").mkdir()
    with refused("unbc: none of the 1 frames has a label in"):
        read_dataset("unbc", tmp_path)
    with refused("unbc: none of the 1 sequences has a label in"):
        read_dataset("unbc", tmp_path, {"unit": "clip"})
