"""CK+ is read, and what is no CK+ is explained."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import columns_of, named, plant, prepared, refused

from evenface.data.datasets import read_dataset
from evenface.data.datasets.ckplus import CODES

OFFICIAL = {1: "angry", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}


def cohn(root, emotions, pictures=5, top=""):
    """Lay out sequences as the readme says; None is a sequence without an emotion, and its folder may be there."""
    for row, code in enumerate(emotions):
        subject, number = f"S{5 + row // 2:03}", f"{1 + row % 2:03}"
        stems = [f"{subject}_{number}_{i:08}" for i in range(1, pictures + 1)]
        base = root / top
        plant(base, *(f"cohn-kanade-images/{subject}/{number}/{stem}.png" for stem in stems))
        plant(base, f"cohn-kanade-images/{subject}/.DS_Store", *(f"Landmarks/{subject}/{number}/x" for _ in stems[:0]))
        for stem in stems:
            path = base / "Landmarks" / subject / number / f"{stem}_landmarks.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"   {x:.7e}   {x + 1:.7e}\n" for x in range(68)))
        folder = base / "Emotion" / subject / number
        folder.mkdir(parents=True, exist_ok=True)
        if code is not None:
            (folder / f"{stems[-1]}_emotion.txt").write_text(f"   {code:.7e}\n")
    return root


def test_ckplus_gives_a_clip_for_each_labelled_sequence(tmp_path):
    got = read_dataset("ckplus", cohn(tmp_path, [1, 2, None, 3, 4, 5, 6, 7, None]))
    assert got.content == "clips"
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
    sequences = ["S005/001", "S005/002", "S006/002", "S007/001", "S007/002", "S008/001", "S008/002"]
    assert named(got) == dict(zip(sequences, OFFICIAL.values(), strict=True))
    assert columns_of(got, "path", "subject", "clip")[2] == ("cohn-kanade-images/S006/002", "S006", "S006/002")
    assert got.has_subjects
    assert got.notes == (
        "2 of 9 sequences without emotion are excluded",
        "labelled sequences found: 7; the complete dataset has 327",
    )
    assert CODES == OFFICIAL


def test_ckplus_six_emotions_leave_out_contempt(tmp_path):
    got = read_dataset("ckplus", cohn(tmp_path, [2, 1, 3, 4, 5, 6, 7, 2]), {"emotions": 6})
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert got.counts().tolist() == [1] * 6
    assert got.notes[-1] == "sequences excluded: 2 of contempt"
    with refused("invalid option emotions, got 8"):
        read_dataset("ckplus", tmp_path, {"emotions": 8})


def test_ckplus_of_the_official_size_has_the_official_counts(tmp_path):
    official = {1: 45, 2: 18, 3: 59, 4: 25, 5: 69, 6: 28, 7: 83}
    codes = [code for code, count in official.items() for _ in range(count)] + [None] * 266
    got = read_dataset("ckplus", cohn(tmp_path, codes, pictures=1))
    assert got.counts().tolist() == [45, 59, 25, 69, 28, 83, 18]
    assert got.notes == ("266 of 593 sequences without emotion are excluded",)


@given(
    codes=st.lists(st.one_of(st.none(), st.integers(1, 7)), min_size=1, max_size=6),
    pictures=st.integers(1, 6),
    peaks=st.integers(1, 4),
    neutral=st.booleans(),
)
def test_ckplus_peaks_are_the_last_pictures_and_neutral_the_first(tmp_path_factory, codes, pictures, peaks, neutral):
    if not any(codes):
        codes = [*codes, 7]
    root = cohn(tmp_path_factory.mktemp("ck"), codes, pictures)
    got = read_dataset("ckplus", root, {"unit": "peak", "peaks": peaks, "neutral": neutral})
    assert got.content == "stills"
    expected = {}
    for row, code in enumerate(codes):
        if code is None:
            continue
        subject, number = f"S{5 + row // 2:03}", f"{1 + row % 2:03}"
        for i in range(1, pictures + 1):
            name = f"{subject}/{number}/{subject}_{number}_{i:08}"
            if i > pictures - peaks:
                expected[name] = OFFICIAL[code]
            elif neutral and i == 1:
                expected[name] = "neutral"
    assert named(got) == expected
    assert all((root / path).is_file() for path in got.table["path"])
    assert (got.table["sample"].str.rpartition("/")[0] == got.table["clip"]).all()
    assert ("neutral" in got.classes) == neutral


def test_ckplus_landmarks_are_sequences_of_the_68_points(tmp_path):
    got = read_dataset("ckplus", cohn(tmp_path, [1, None, 7]), {"features": "landmarks"})
    assert got.content == "sequences"
    assert columns_of(got, "path", "points") == [("Landmarks/S005/001", "dlib-68"), ("Landmarks/S006/001", "dlib-68")]
    assert got.table["numbers"].isna().all()
    shutil.rmtree(tmp_path / "cohn-kanade-images")
    assert read_dataset("ckplus", tmp_path, {"features": "landmarks"}).hash == got.hash


def test_ckplus_finds_its_parts_where_archives_put_them(tmp_path):
    cohn(tmp_path / "plain", [1, 7])
    cohn(tmp_path / "packed", [1, 7], top="extended")
    for part, folder in (("cohn-kanade-images", "extended-cohn-kanade-images"), ("Emotion", "Emotion_labels")):
        (tmp_path / "packed" / folder).mkdir()
        shutil.move(tmp_path / "packed" / "extended" / part, tmp_path / "packed" / folder / part)
    shutil.rmtree(tmp_path / "packed" / "extended")
    plain, packed = read_dataset("ckplus", tmp_path / "plain"), read_dataset("ckplus", tmp_path / "packed")
    assert named(plain) == named(packed)
    assert packed.table["path"][0] == "extended-cohn-kanade-images/cohn-kanade-images/S005/001"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8", "contains '8', expected one number\n  Known: 1 angry, 2 contempt"),
        ("1 2", "contains '1 2'"),
        ("", "contains nothing"),
        ("angry", "contains 'angry'"),
        ("5.5", "contains '5.5'"),
    ],
)
def test_ckplus_refuses_other_labels(tmp_path, text, words):
    cohn(tmp_path, [1, 2])
    (tmp_path / "Emotion/S005/001/S005_001_00000005_emotion.txt").write_text(text)
    with refused(words):
        read_dataset("ckplus", tmp_path)


def test_ckplus_says_what_is_wrong_and_what_is_left_out(tmp_path):
    with refused(f"ckplus: no folder cohn-kanade-images in {tmp_path}, which has nothing\n  Expected"):
        read_dataset("ckplus", tmp_path)
    cohn(tmp_path, [1, 0, 7, 2])
    assert read_dataset("ckplus", tmp_path).notes[0] == "1 of 4 sequences without emotion are excluded"
    for options, words in [
        ({"neutral": True}, "Set unit: peak"),
        ({"unit": "peak", "features": "landmarks"}, "Set unit: clip"),
        ({"unit": "peak", "peaks": 0}, "peaks must be at least 1"),
        ({"peaks": 5}, "peaks is for single images, not for unit: clip\n  Set unit: peak."),
    ]:
        with refused(words):
            read_dataset("ckplus", tmp_path, options)
    plant(tmp_path, "Emotion/S099/001/S099_001_00000009_emotion.txt")
    (tmp_path / "Emotion/S099/001/S099_001_00000009_emotion.txt").write_text("3")
    assert (
        read_dataset("ckplus", tmp_path).notes[1] == "1 emotions have no files in cohn-kanade-images, such as S099/001"
    )
    assert "emotions without samples: disgust, fear, happy, sad" in read_dataset("ckplus", tmp_path).notes
    plant(tmp_path, "Emotion/S005/001/another_emotion.txt")
    with refused("found S005_001_00000005_emotion.txt, another_emotion.txt"):
        read_dataset("ckplus", tmp_path)
    shutil.rmtree(tmp_path / "Emotion")
    (tmp_path / "Emotion").mkdir()
    with refused("none of the 4 sequences"):
        read_dataset("ckplus", tmp_path)
    with refused("are of contempt\n  Set emotions: 7"):
        read_dataset("ckplus", cohn(tmp_path / "two", [2, 2]), {"emotions": 6})


def test_ckplus_landmarks_are_prepared_frame_by_frame(tmp_path):
    store = prepared("ckplus", cohn(tmp_path, [1, None, 7]), 5, features="landmarks")
    expected = np.stack([np.arange(68), np.arange(68) + 1], 1)
    assert store.points == "dlib-68"
    np.testing.assert_array_equal(store.sequences, np.broadcast_to(expected, (2, 5, 68, 2)))
