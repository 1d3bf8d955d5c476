"""CK+, RAVDESS, OpenFace's tables, files of points and generic sequences are read, and other layouts refused."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sources import plant, refused

from evenface.assembly import prepare_store
from evenface.data.leakage import check
from evenface.data.manifest import Manifest
from evenface.data.sources import read
from evenface.data.sources.ckplus import CODES
from evenface.errors import InputError
from evenface.recipes import Recipe


def named(manifest):
    return {s: manifest.classes[y] for s, y in zip(manifest.table["sample"], manifest.labels, strict=True)}


def columns_of(manifest, *names):
    return list(manifest.table[list(names)].itertuples(index=False, name=None))


# --- CK+

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
    got = read("ckplus", cohn(tmp_path, [1, 2, None, 3, 4, 5, 6, 7, None]))
    assert got.content == "clips"
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
    sequences = ["S005/001", "S005/002", "S006/002", "S007/001", "S007/002", "S008/001", "S008/002"]
    assert named(got) == dict(zip(sequences, OFFICIAL.values(), strict=True))
    assert columns_of(got, "path", "subject", "clip")[2] == ("cohn-kanade-images/S006/002", "S006", "S006/002")
    assert got.has_subjects
    assert got.notes == (
        "2 of 9 sequences have no emotion and are left out",
        "7 sequences with an emotion are here; the whole set has 327",
    )
    assert CODES == OFFICIAL


def test_ckplus_six_emotions_leave_out_contempt(tmp_path):
    got = read("ckplus", cohn(tmp_path, [2, 1, 3, 4, 5, 6, 7, 2]), {"emotions": 6})
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert got.counts().tolist() == [1] * 6
    assert got.notes[-1] == "sequences left out: 2 of contempt"
    with refused("the option emotions cannot be 8"):
        read("ckplus", tmp_path, {"emotions": 8})


def test_ckplus_of_the_official_size_has_the_official_counts(tmp_path):
    official = {1: 45, 2: 18, 3: 59, 4: 25, 5: 69, 6: 28, 7: 83}
    codes = [code for code, count in official.items() for _ in range(count)] + [None] * 266
    got = read("ckplus", cohn(tmp_path, codes, pictures=1))
    assert got.counts().tolist() == [45, 59, 25, 69, 28, 83, 18]
    assert got.notes == ("266 of 593 sequences have no emotion and are left out",)


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
    got = read("ckplus", root, {"unit": "peak", "peaks": peaks, "neutral": neutral})
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
    got = read("ckplus", cohn(tmp_path, [1, None, 7]), {"features": "landmarks"})
    assert got.content == "sequences"
    assert columns_of(got, "path", "points") == [("Landmarks/S005/001", "dlib-68"), ("Landmarks/S006/001", "dlib-68")]
    assert got.table["numbers"].isna().all()
    shutil.rmtree(tmp_path / "cohn-kanade-images")
    assert read("ckplus", tmp_path, {"features": "landmarks"}).hash == got.hash


def test_ckplus_finds_its_parts_where_archives_put_them(tmp_path):
    cohn(tmp_path / "plain", [1, 7])
    cohn(tmp_path / "packed", [1, 7], top="extended")
    for part, folder in (("cohn-kanade-images", "extended-cohn-kanade-images"), ("Emotion", "Emotion_labels")):
        (tmp_path / "packed" / folder).mkdir()
        shutil.move(tmp_path / "packed" / "extended" / part, tmp_path / "packed" / folder / part)
    shutil.rmtree(tmp_path / "packed" / "extended")
    plain, packed = read("ckplus", tmp_path / "plain"), read("ckplus", tmp_path / "packed")
    assert named(plain) == named(packed)
    assert packed.table["path"][0] == "extended-cohn-kanade-images/cohn-kanade-images/S005/001"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8", "holds '8', expected one number\n  Known are 1 angry, 2 contempt"),
        ("1 2", "holds '1 2'"),
        ("", "holds nothing"),
        ("angry", "holds 'angry'"),
        ("5.5", "holds '5.5'"),
    ],
)
def test_ckplus_refuses_other_labels(tmp_path, text, words):
    cohn(tmp_path, [1, 2])
    (tmp_path / "Emotion/S005/001/S005_001_00000005_emotion.txt").write_text(text)
    with refused(words):
        read("ckplus", tmp_path)


def test_ckplus_says_what_is_wrong_and_what_is_left_out(tmp_path):
    with refused(f"ckplus: there is no folder cohn-kanade-images in {tmp_path}, which holds nothing\n  Expected"):
        read("ckplus", tmp_path)
    cohn(tmp_path, [1, 0, 7, 2])
    assert read("ckplus", tmp_path).notes[0] == "1 of 4 sequences have no emotion and are left out"
    for options, words in [
        ({"neutral": True}, "Say unit: peak"),
        ({"unit": "peak", "features": "landmarks"}, "Say unit: clip"),
        ({"unit": "peak", "peaks": 0}, "peaks must be at least 1"),
    ]:
        with refused(words):
            read("ckplus", tmp_path, options)
    plant(tmp_path, "Emotion/S099/001/S099_001_00000009_emotion.txt")
    (tmp_path / "Emotion/S099/001/S099_001_00000009_emotion.txt").write_text("3")
    assert read("ckplus", tmp_path).notes[1] == "1 emotions have no files in cohn-kanade-images, such as S099/001"
    assert "emotions that do not occur: disgust, fear, happy, sad" in read("ckplus", tmp_path).notes
    plant(tmp_path, "Emotion/S005/001/another_emotion.txt")
    with refused("S005_001_00000005_emotion.txt, another_emotion.txt, expected one file"):
        read("ckplus", tmp_path)
    shutil.rmtree(tmp_path / "Emotion")
    (tmp_path / "Emotion").mkdir()
    with refused("none of the 4 sequences"):
        read("ckplus", tmp_path)
    with refused("are of contempt\n  Say emotions: 7"):
        read("ckplus", cohn(tmp_path / "two", [2, 2]), {"emotions": 6})


# --- RAVDESS


def code(modality=1, channel=1, emotion=1, intensity=1, statement=1, repetition=1, actor=1):
    return "-".join(f"{n:02}" for n in (modality, channel, emotion, intensity, statement, repetition, actor))


def recordings(root, ending=".mp4", modalities=(1, 2), actors=(1, 2)):
    for actor in actors:
        for modality in modalities:
            for channel, emotions in ((1, range(1, 9)), (2, range(1, 7))):
                names = [code(modality, channel, emotion, actor=actor) for emotion in emotions]
                plant(root, *(f"Actor_{actor:02}/{name}{ending}" for name in names))
    return root


def test_ravdess_knows_every_code_and_counts_no_performance_twice(tmp_path):
    got = read("ravdess", recordings(tmp_path))
    assert got.content == "clips"
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "calm")
    order = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"]
    assert named(got) == {code(1, 1, e + 1, actor=a): order[e] for e in range(8) for a in (1, 2)}
    assert set(columns_of(got, "subject", "channel")) == {("Actor_01", "speech"), ("Actor_02", "speech")}
    assert got.notes == (
        "files left out: 24 of another channel, 16 that show a performance again",
        "2 of the 24 actors are here",
    )


def test_ravdess_takes_the_channel_modality_and_emotions_that_are_wanted(tmp_path):
    recordings(tmp_path)
    song = read("ravdess", tmp_path, {"channel": "song"})
    assert song.classes == ("angry", "fear", "happy", "sad", "neutral", "calm")
    assert "emotions that do not occur: disgust, surprise" in song.notes
    assert len(read("ravdess", tmp_path, {"channel": "both"})) == 2 * (8 + 6)
    silent = read("ravdess", tmp_path, {"modality": "video"})
    assert len(silent) == 16
    assert all(name.startswith("02-") for name in silent.table["sample"])
    six = read("ravdess", tmp_path, {"emotions": "six"})
    assert six.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert six.counts().tolist() == [2] * 6
    two = read("ravdess", tmp_path, {"emotions": ["sad", "fearful"]})
    assert (two.classes, two.counts().tolist()) == (("sad", "fear"), [2, 2])
    for emotions, words in [
        (["joy", "sad"], "no emotion 'joy'"),
        (["sad", "sad"], "each once"),
        (["sad"], "two or more"),
    ]:
        with refused(words):
            read("ravdess", tmp_path, {"emotions": emotions})
    with refused("the option emotions cannot be 'seven'"):
        read("ravdess", tmp_path, {"emotions": "seven"})


def test_ravdess_takes_what_has_no_sound_where_there_is_no_other(tmp_path):
    plant(tmp_path, f"a/{code(2, emotion=3)}.mp4", f"b/{code(2, emotion=5)}.mp4", f"{code(1, emotion=5)}.mp4")
    plant(tmp_path, f"{code(3, emotion=3)}.mp4")
    got = read("ravdess", tmp_path)
    assert sorted(got.table["path"]) == [f"{code(1, emotion=5)}.mp4", f"a/{code(2, emotion=3)}.mp4"]
    assert "1 of sound alone" in got.notes[0]


AUS = [f"AU{unit:02}_{kind}" for kind in "rc" for unit in (1, 2, 4)]


def table_of(path, names=AUS, rows=3, separator=", "):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(names), *(separator.join(f"{i}.0" for _ in names) for i in range(rows))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_ravdess_reads_openfaces_tables(tmp_path):
    for actor in (1, 2):
        for emotion in range(1, 9):
            table_of(
                tmp_path / f"Actor_{actor:02}/outProcessed/{code(emotion=emotion, actor=actor)}.csv", separator=";"
            )
    plant(tmp_path, "notes.csv")
    got = read("ravdess", tmp_path)
    assert (got.content, len(got)) == ("sequences", 16)
    assert got.notes[0] == "files with other names: 1, such as notes.csv"
    assert set(got.table["points"]) == {"openface-aus"}
    assert set(read("ravdess", tmp_path, {"features": "presences"}).table["numbers"]) == {"AU*_c"}
    with refused("features: landmarks needs columns such as x_67"):
        read("ravdess", tmp_path, {"features": "landmarks"})
    plant(tmp_path, f"Actor_01/{code(emotion=3)}.mp4", f"Actor_01/{code(emotion=4)}.mp4")
    with refused("holds 2 videos and 16 tables\n  Say files: videos or files: openface"):
        read("ravdess", tmp_path)
    assert read("ravdess", tmp_path, {"files": "videos"}).content == "clips"
    assert read("ravdess", tmp_path, {"files": "openface"}).hash == got.hash


def test_ravdess_says_what_is_wrong(tmp_path):
    with refused(
        f"no videos or tables with names of the set in {tmp_path}, which holds nothing\n  Expected files such as"
    ):
        read("ravdess", tmp_path)
    plant(tmp_path, f"Actor_01/{code(emotion=3)}.mp4")
    with refused("at least two classes are needed"):
        read("ravdess", tmp_path)
    with refused("none of the 1 files in"):
        read("ravdess", tmp_path, {"channel": "song"})
    plant(tmp_path, f"again/{code(emotion=3)}.mp4")
    with refused("are the same recording"):
        read("ravdess", tmp_path)
    for wrong, words in [
        ({"emotion": 9}, "emotion 09"),
        ({"channel": 3}, "channel 03"),
        ({"modality": 4}, "modality 04"),
    ]:
        with refused(f"there is no {words}"):
            read("ravdess", plant(tmp_path / words, f"{code(**wrong)}.mp4"))


def test_ravdess_of_five_actors(real_data, tmp_path):
    archive = real_data / "sequences" / "ravdess_au.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    got = read("ravdess", tmp_path)
    counts = dict(zip(got.classes, got.counts().tolist(), strict=True))
    assert counts == dict.fromkeys(got.classes, 40) | {"neutral": 20}
    assert got.table.groupby("subject").size().to_dict() == {f"Actor_0{actor}": 60 for actor in range(1, 6)}
    six = read("ravdess", tmp_path, {"emotions": "six"})
    assert six.counts().tolist() == [40] * 6
    header = (got.root / got.table["path"][0]).read_text().splitlines()[0].split(";")
    assert (sum(name.endswith("_r") for name in header), sum(name.endswith("_c") for name in header)) == (17, 18)
    store = prepared("ravdess", tmp_path, 10, features="intensities")
    assert store.sequences.shape == (300, 10, 17, 1)
    assert len(store.quarantine) == 0


# --- OpenFace and files of points


@pytest.fixture
def openface(tmp_path):
    for name in ("calm/S1_a.csv", "calm/deep/S2_b.csv", "pain/S1_c.csv"):
        table_of(tmp_path / name, ["frame", "success", *AUS, *(f"{axis}_{i}" for axis in "xy" for i in range(68))])
    return tmp_path


@pytest.mark.parametrize(
    ("features", "points", "numbers"),
    [
        ("both", "openface-aus", None),
        ("intensities", "openface-aus", "AU*_r"),
        ("presences", "openface-aus", "AU*_c"),
        ("landmarks", "dlib-68", None),
    ],
)
def test_openface_says_what_is_read_of_its_tables(openface, features, points, numbers):
    got = read("openface", openface, {"features": features, "subjects": "(S[0-9]+)_"})
    assert got.content == "sequences"
    assert named(got) == {"calm/S1_a.csv": "calm", "calm/deep/S2_b.csv": "calm", "pain/S1_c.csv": "pain"}
    assert got.table["subject"].tolist() == ["S1", "S2", "S1"]
    assert got.table["clip"].tolist() == got.table["sample"].tolist()
    assert set(got.table["points"]) == {points}
    assert got.table["numbers"].fillna("-").unique().tolist() == [numbers or "-"]
    got.save(openface / "m.parquet")
    assert Manifest.load(openface / "m.parquet").hash == got.hash


def test_what_is_read_of_the_same_files_changes_the_hash(openface):
    hashes = {
        read("openface", openface, {"features": features}).hash for features in ("both", "presences", "landmarks")
    }
    assert len(hashes) == 3


def test_openface_by_a_table(openface):
    (openface / "who.csv").write_text(
        "file;emotion;subject;start;end\ncalm/S1_a.csv;up;S1;0;2\ncalm/S1_a.csv;down;S1;2;3\npain/S1_c.csv;up;S1;;\n"
    )
    options = {"table": "who.csv", "delimiter": ";", "columns": {"path": "file", "label": "emotion"}, "ordered": True}
    got = read("openface", openface, options | {"classes": ["up", "down"]})
    assert named(got) == {"calm/S1_a.csv#0": "up", "calm/S1_a.csv#2": "down", "pain/S1_c.csv": "up"}
    assert got.table["end"].tolist()[:2] == [2, 3]
    assert (got.ordered, got.content, got.source) == (True, "sequences", "openface")
    assert (
        read("openface", openface / "who.csv", {name: options[name] for name in ("delimiter", "columns")})
        .counts()
        .sum()
        == 3
    )
    with refused("openface: the option subjects is of no effect with a table"):
        read("openface", openface, options | {"subjects": "(S1)"})
    for name in ("columns", "delimiter"):
        with refused(f"openface: the option {name} is of no effect without a table"):
            read("openface", openface, {name: options[name]})


def test_openface_says_what_is_wrong(openface, tmp_path_factory):
    with refused("classes says up, down"):
        read("openface", openface, {"classes": ["up", "down"]})
    plant(openface, "pain/video.avi")
    note = "files that are none of .csv are left out: 1, such as pain/video.avi"
    assert read("openface", openface).notes == (note,)
    other = tmp_path_factory.mktemp("other")
    for name in "ab":
        table_of(other / name / "x.csv", ["time", "smile"])
    with refused("features: both needs columns such as AU01_r,"):
        read("openface", other)
    with refused("has files of nothing only\n  Expected class/file.csv"):
        read("openface", plant(tmp_path_factory.mktemp("none"), "a/x.txt", "b/y.txt"))


def test_landmarks_are_files_of_points(tmp_path):
    plant(tmp_path, "train/calm/a.npy", "train/pain/b.npz", "test/calm/c.parquet", "test/pain/d.csv", "test/pain/e.mp4")
    got = read("landmarks", tmp_path)
    assert (got.content, len(got), got.classes) == ("sequences", 4, ("calm", "pain"))
    assert got.table["split"].value_counts().to_dict() == {"train": 2, "test": 2}
    assert set(got.table["points"]) == {"mesh-468"}
    assert got.table["numbers"].isna().all()
    assert "such as test/pain/e.mp4" in got.notes[0]
    other = read("landmarks", tmp_path, {"points": "dlib-68", "array": "points"})
    assert set(columns_of(other, "points", "numbers")) == {("dlib-68", "points")}
    with refused("the option points cannot be 'features'"):
        read("landmarks", tmp_path, {"points": "features"})


# --- generic sequences


def arrays(path, **given_arrays):
    np.savez(path, **given_arrays)
    return path


@given(
    lengths=st.lists(st.integers(1, 5), min_size=2, max_size=6),
    points=st.sampled_from([("features", (3, 2)), ("features", (3,)), ("openface-aus", (4,)), ("dlib-68", (68, 2))]),
    data=st.data(),
)
def test_ragged_sequences_are_cut_where_their_lengths_say(tmp_path_factory, lengths, points, data):
    kind, frame = points
    labels = [0, 1, *data.draw(st.lists(st.integers(0, 2), min_size=len(lengths) - 2, max_size=len(lengths) - 2))]
    values = np.arange(sum(lengths) * int(np.prod(frame)), dtype=np.float32).reshape(-1, *frame)
    path = arrays(tmp_path_factory.mktemp("npz") / "all.npz", values=values, lengths=lengths, labels=labels)
    got = read("sequences", path, {"points": kind})
    at = 0
    for (start, end), length in zip(columns_of(got, "start", "end"), lengths, strict=True):
        assert (start, end) == (at, at + length)
        at += length
    assert list(named(got).values()) == [str(label) for label in labels]
    assert set(columns_of(got, "path", "points", "numbers")) == {("all.npz", kind, "values")}


def test_equal_sequences_with_all_that_may_be_said(tmp_path):
    arrays(
        tmp_path / "all.npz",
        sequences=np.zeros((4, 6, 5, 1)),
        labels=np.array([2, 0, 2, 2]),
        classes=np.array(["calm", "fear", "pain"]),
        subjects=np.array(["a", "a", "b", "b"]),
        clips=np.array([7, 7, 8, 9]),
        samples=np.array(["w", "x", "y", "z"]),
        splits=np.array(["Training", "train", "test", "val"]),
    )
    got = read("sequences", tmp_path, {"ordered": True})
    assert (got.classes, got.content, got.ordered) == (("calm", "fear", "pain"), "sequences", True)
    assert columns_of(got, "sample", "subject", "clip", "split", "start", "end", "label") == [
        ("w", "a", "7", "train", 0, 6, 2),
        ("x", "a", "7", "train", 6, 12, 0),
        ("y", "b", "8", "test", 12, 18, 2),
        ("z", "b", "9", "validation", 18, 24, 2),
    ]
    assert read("sequences", tmp_path, {"classes": ["pain", "fear", "calm"]}).labels.tolist() == [0, 2, 0, 0]


def test_ratings_give_the_class_that_is_rated_highest(tmp_path):
    ratings = np.array([[0.1, 0.9], [0.5, 0.5], [3.0, 1.0]])
    path = arrays(
        tmp_path / "r.npz", tracks=np.zeros((3, 10, 68, 2)), ratings=ratings, words=np.array(["sad", "happy"])
    )
    got = read("sequences", path, {"points": "dlib-68", "label": "ratings", "names": "words"})
    assert named(got) == {"00000": "happy", "00002": "sad"}
    assert columns_of(got, "start", "end", "numbers") == [(0, 10, "tracks"), (20, 30, "tracks")]
    assert got.notes[1] == "1 sequences without one highest of ratings are left out"


def test_real_tracks_with_ratings(real_data):
    path = real_data / "sequences" / "plsr_tracking.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    got = read("sequences", path, {"points": "dlib-68", "label": "ratings", "names": "rating_names"})
    assert got.classes == ("happy", "sad", "surprised", "disgusted", "angry", "fearful", "interested")
    assert got.counts().tolist() == [8, 4, 4, 4, 9, 3, 8]
    with np.load(path) as file:
        for row, end, label in columns_of(got, "start", "end", "label"):
            assert file["ratings"][row // 10].max() == file["ratings"][row // 10, label]
            assert end == row + 10


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"sequences": None}, {}, "has no array sequences or values, only labels"),
        ({"labels": None}, {}, "has no array labels, only sequences"),
        ({"labels": np.zeros(3, int)}, {}, "labels of all.npz has the shape (3,), expected (4,)"),
        ({"labels": np.full(4, 0.5)}, {}, "neither whole numbers nor words, but float64"),
        ({"labels": np.array([0, 1, 2, 3]), "classes": np.array(["a", "b"])}, {}, "go from 0 to 3, of a, b"),
        ({"labels": np.zeros(4, int)}, {}, "at least two classes are needed, all.npz has 0 only"),
        ({"sequences": np.zeros((4, 6, 5))}, {}, "4 axes\n  An array (N, T, F) of features becomes one of four axes"),
        ({"sequences": np.zeros((24, 5, 1)), "lengths": np.array([6, 6, 6, 7])}, {}, "whose sum is 24, the frames"),
        ({"sequences": np.zeros((24, 5, 1)), "lengths": np.array([12, 12, 0, 0])}, {}, "whole numbers >= 1"),
        ({"samples": np.array(["a", "a", "b", "c"])}, {}, "the sample name 'a' stands twice"),
        ({"subjects": np.array(["a"])}, {}, "subjects of all.npz has the shape (1,), expected (4,)"),
        ({"splits": np.array(["train"] * 3 + ["later"])}, {}, "split 'later' is none of train, validation, test"),
        ({"labels": np.zeros((4, 2))}, {}, "no row of labels in all.npz has one highest rating"),
        ({}, {"numbers": "tracks"}, "has no array tracks"),
        ({}, {"numbers": ["a", "b"]}, "numbers names one array"),
        ({}, {"classes": ["0", "2"]}, "has the label '1', which is none of 0, 2"),
        ({"sequences": np.array([{}], object)}, {}, "cannot read"),
    ],
)
def test_arrays_that_do_not_fit_are_explained(tmp_path, change, options, words):
    whole = {"sequences": np.zeros((4, 6, 5, 1)), "labels": np.array([0, 1, 1, 0])} | change
    arrays(tmp_path / "all.npz", **{name: array for name, array in whole.items() if array is not None})
    with refused(words):
        read("sequences", tmp_path, options)


def long_form():
    rows = [(s, f) for s, n in (("b", 3), ("a", 2), ("c", 1)) for f in range(n)]
    table = pd.DataFrame(rows, columns=["sample", "frame"])
    table["label"] = table["sample"].map({"a": "calm", "b": "pain", "c": "calm"})
    table["subject"] = table["sample"].map({"a": 1, "b": 2, "c": 1})
    return table.assign(AU01_r=np.arange(6.0), AU01_c=1, note="x")


def test_long_form_gives_the_rows_of_each_sequence(tmp_path):
    long_form().to_parquet(tmp_path / "all.parquet", row_group_size=2)
    got = read("sequences", tmp_path)
    assert columns_of(got, "sample", "start", "end", "subject") == [
        ("b", 0, 3, "2"),
        ("a", 3, 5, "1"),
        ("c", 5, 6, "1"),
    ]
    assert named(got) == {"a": "calm", "b": "pain", "c": "calm"}
    assert set(got.table["numbers"]) == {"AU01_r,AU01_c"}
    units = read("sequences", tmp_path, {"points": "openface-aus", "numbers": "AU*_r"})
    assert set(columns_of(units, "points", "numbers")) == {("openface-aus", "AU*_r")}
    assert read("sequences", tmp_path, {"points": "openface-aus"}).table["numbers"].isna().all()
    assert set(read("sequences", tmp_path, {"label": "subject"}).classes) == {"1", "2"}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (
            lambda t: t.drop(columns="frame"),
            {},
            "expected the columns sample, frame, label in all.parquet, found sample",
        ),
        (lambda t: t.iloc[::-1], {}, "the rows of 'a' in all.parquet are not in order"),
        (lambda t: t.iloc[[0, 1, 3, 2, 4, 5]], {}, "the rows of 'a' in all.parquet are not in order"),
        (lambda t: t.assign(label=list("xyxxxx")), {}, "'b' in all.parquet has several values of label"),
        (lambda t: t.assign(label=["x", None, *"xxxx"]), {}, "rows without sample, frame or label"),
        (lambda t: t.iloc[:0], {}, "has no rows"),
        (lambda t: t[["sample", "frame", "label"]], {}, "has no columns of numbers"),
        (lambda t: t.rename(columns={"AU01_r": "a,b"}), {}, "must have no comma"),
        (lambda t: t, {"numbers": "AU09_r"}, "has no column of numbers AU09_r, only AU01_r, AU01_c"),
        (lambda t: t.assign(split="later"), {}, "split 'later' is none"),
    ],
)
def test_tables_that_do_not_fit_are_explained(tmp_path, change, options, words):
    change(long_form()).to_parquet(tmp_path / "all.parquet")
    with refused(words):
        read("sequences", tmp_path, options)


def test_the_one_file_of_sequences_is_found(tmp_path):
    with refused(f"expected one .npz or .parquet in {tmp_path}, found nothing"):
        read("sequences", tmp_path)
    long_form().to_parquet(tmp_path / "a.parquet")
    plant(tmp_path, "b.npz", "c.txt")
    with refused("found a.parquet, b.npz\n  Name it with the option file"):
        read("sequences", tmp_path)
    assert len(read("sequences", tmp_path, {"file": "a.parquet"})) == 3
    assert len(read("sequences", tmp_path / "a.parquet")) == 3
    for path, options, words in [
        (tmp_path, {"file": "d.npz"}, "there is no file"),
        (tmp_path / "c.txt", {}, "is no .npz or .parquet"),
        (tmp_path / "b.npz", {}, "cannot read"),
    ]:
        with refused(words):
            read("sequences", path, options)


def prepared(source, root, frames, **options):
    data = {"source": source, "root": str(root), "sequences": {"frames": frames}, **options}
    return prepare_store(Recipe.model_validate({"name": "small", "data": data}))


@pytest.mark.parametrize("points", ["features", "openface-aus", "dlib-68"])
@pytest.mark.parametrize("form", ["equal", "in line", "table"])
def test_what_is_prepared_is_what_stands_in_the_file(tmp_path, points, form):
    frame = {"features": (3, 1), "openface-aus": (4,), "dlib-68": (68, 2)}[points]
    values = np.random.default_rng(0).normal(size=(4, 6, *frame)).astype(np.float32)
    labels = np.array([0, 1, 1, 0])
    if form == "table":
        axes = {"dlib-68": [f"{axis}_{i}" for i in range(68) for axis in "xy"]}
        names = axes.get(points, [f"AU{i:02}_r" for i in range(frame[0])])
        table = pd.DataFrame(values.reshape(24, -1), columns=names)
        table = table.assign(sample=np.repeat(list("dbca"), 6), frame=np.tile(np.arange(6), 4), label=labels.repeat(6))
        table.to_parquet(tmp_path / "all.parquet")
    elif form == "in line":
        arrays(tmp_path / "all.npz", values=values.reshape(24, *frame), lengths=np.full(4, 6), labels=labels)
    else:
        arrays(tmp_path / "all.npz", sequences=values, labels=labels)
    store = prepared("sequences", tmp_path, 6, points=points)
    assert store.points == points
    assert len(store.quarantine) == 0
    np.testing.assert_array_equal(np.asarray(store.sequences).reshape(4, 6, -1), values.reshape(4, 6, -1))
    assert store.manifest.labels.tolist() == labels.tolist()


def test_ckplus_landmarks_are_prepared_frame_by_frame(tmp_path):
    store = prepared("ckplus", cohn(tmp_path, [1, None, 7]), 5, features="landmarks")
    expected = np.stack([np.arange(68), np.arange(68) + 1], 1)
    assert store.points == "dlib-68"
    np.testing.assert_array_equal(store.sequences, np.broadcast_to(expected, (2, 5, 68, 2)))


def test_the_check_finds_equal_sequences_and_says_that_it_looks_for_no_others(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 4, 3, 1)).astype(np.float32)
    values[5] = values[1]
    sides = np.array(["train"] * 4 + ["test"] * 2)
    path = arrays(tmp_path / "all.npz", sequences=values, labels=[0, 1, 0, 1, 0, 0], splits=sides)
    said = check(read("sequences", path), values).lines()
    assert said[0] == "leakage: 1 test sequence also in train, number by number"
    assert "copies: 1 of 6 sequences repeat another exactly" in said
    assert "near-duplicates: not looked for among sequences of numbers" in said
    assert "conflicting labels: 1 groups of equal sequences" in said
    clean = check(read("sequences", path), np.arange(6.0)[:, None, None, None]).lines()
    assert "no subject, clip or sequence stands on two sides" in clean[0]


def test_no_source_of_sequences_is_silent_about_an_empty_folder(tmp_path):
    for name in ("ckplus", "ravdess", "openface", "landmarks", "sequences"):
        with pytest.raises(InputError, match=re.escape(str(tmp_path))):
            read(name, tmp_path)
        with refused(f"{name}: there is no folder"):
            read(name, tmp_path / "none")
