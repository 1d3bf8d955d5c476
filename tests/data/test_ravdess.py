"""RAVDESS is read, and what is no RAVDESS is explained."""

import shutil

import pytest
from layouts import columns_of, named, plant, prepared, refused, table_of

from evenface.data.datasets import read_dataset


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
    got = read_dataset("ravdess", recordings(tmp_path))
    assert got.content == "clips"
    assert got.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "calm")
    order = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"]
    assert named(got) == {code(1, 1, e + 1, actor=a): order[e] for e in range(8) for a in (1, 2)}
    assert set(columns_of(got, "subject", "channel")) == {("Actor_01", "speech"), ("Actor_02", "speech")}
    assert got.notes == (
        "files excluded: 24 of another channel, 16 of a performance in another modality",
        "found 2 of the 24 actors",
    )


def test_ravdess_takes_the_channel_modality_and_emotions_that_are_wanted(tmp_path):
    recordings(tmp_path)
    song = read_dataset("ravdess", tmp_path, {"channel": "song"})
    assert song.classes == ("angry", "fear", "happy", "sad", "neutral", "calm")
    assert "emotions without samples: disgust, surprise" in song.notes
    assert len(read_dataset("ravdess", tmp_path, {"channel": "both"})) == 2 * (8 + 6)
    silent = read_dataset("ravdess", tmp_path, {"modality": "video"})
    assert len(silent) == 16
    assert all(name.startswith("02-") for name in silent.table["sample"])
    six = read_dataset("ravdess", tmp_path, {"emotions": "six"})
    assert six.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert six.counts().tolist() == [2] * 6
    two = read_dataset("ravdess", tmp_path, {"emotions": ["sad", "fearful"]})
    assert (two.classes, two.counts().tolist()) == (("sad", "fear"), [2, 2])
    for emotions, words in [
        (["joy", "sad"], "unknown emotion 'joy'"),
        (["sad", "sad"], "each once"),
        (["sad"], "two or more"),
    ]:
        with refused(words):
            read_dataset("ravdess", tmp_path, {"emotions": emotions})
    with refused("invalid option emotions, got 'seven'"):
        read_dataset("ravdess", tmp_path, {"emotions": "seven"})


def test_ravdess_takes_the_intensity_that_is_wanted(tmp_path):
    recordings(tmp_path, modalities=(1,), actors=(1,))
    plant(tmp_path, *(f"Actor_01/{code(emotion=emotion, intensity=2)}.mp4" for emotion in range(2, 9)))
    counts = {"both": [2, 2, 2, 2, 2, 2, 1, 2], "normal": [1] * 8, "strong": [1] * 7}
    for intensity, expected in counts.items():
        got = read_dataset("ravdess", tmp_path, {"intensity": intensity})
        assert sorted(got.counts().tolist()) == sorted(expected)
        wanted = {"normal", "strong"} if intensity == "both" else {intensity}
        assert {value for (value,) in columns_of(got, "intensity")} == wanted
    assert "neutral" not in read_dataset("ravdess", tmp_path, {"intensity": "strong"}).classes


def test_ravdess_takes_what_has_no_sound_where_there_is_no_other(tmp_path):
    plant(tmp_path, f"a/{code(2, emotion=3)}.mp4", f"b/{code(2, emotion=5)}.mp4", f"{code(1, emotion=5)}.mp4")
    plant(tmp_path, f"{code(3, emotion=3)}.mp4")
    got = read_dataset("ravdess", tmp_path)
    assert sorted(got.table["path"]) == [f"{code(1, emotion=5)}.mp4", f"a/{code(2, emotion=3)}.mp4"]
    assert "1 audio only" in got.notes[0]


def test_ravdess_reads_openfaces_tables(tmp_path):
    for actor in (1, 2):
        for emotion in range(1, 9):
            table_of(
                tmp_path / f"Actor_{actor:02}/outProcessed/{code(emotion=emotion, actor=actor)}.csv", separator=";"
            )
    plant(tmp_path, "notes.csv")
    got = read_dataset("ravdess", tmp_path)
    assert (got.content, len(got)) == ("sequences", 16)
    assert got.notes[0] == "files with other names are ignored: 1, such as notes.csv"
    assert set(got.table["points"]) == {"openface-aus"}
    assert set(read_dataset("ravdess", tmp_path, {"features": "presences"}).table["numbers"]) == {"AU*_c"}
    with refused("features: landmarks needs columns such as x_67"):
        read_dataset("ravdess", tmp_path, {"features": "landmarks"})
    plant(tmp_path, f"Actor_01/{code(emotion=3)}.mp4", f"Actor_01/{code(emotion=4)}.mp4")
    with refused("has 2 videos and 16 OpenFace tables\n  Choose with files: videos or files: openface"):
        read_dataset("ravdess", tmp_path)
    assert read_dataset("ravdess", tmp_path, {"files": "videos"}).content == "clips"
    assert read_dataset("ravdess", tmp_path, {"files": "openface"}).hash == got.hash


def test_ravdess_says_what_is_wrong(tmp_path):
    with refused(
        f"no videos or tables with RAVDESS file names in {tmp_path}, which has nothing\n  Expected files such as"
    ):
        read_dataset("ravdess", tmp_path)
    plant(tmp_path, f"Actor_01/{code(emotion=3)}.mp4")
    with refused("expected at least two classes"):
        read_dataset("ravdess", tmp_path)
    with refused("ravdess: all 1 files in"):
        read_dataset("ravdess", tmp_path, {"channel": "song"})
    plant(tmp_path, f"again/{code(emotion=3)}.mp4")
    with refused("are the same recording"):
        read_dataset("ravdess", tmp_path)
    for wrong, words in [
        ({"emotion": 9}, "emotion 09"),
        ({"channel": 3}, "channel 03"),
        ({"modality": 4}, "modality 04"),
    ]:
        with refused(f"unknown {words} in the file name"):
            read_dataset("ravdess", plant(tmp_path / words, f"{code(**wrong)}.mp4"))


def test_ravdess_of_five_actors(real_data, tmp_path):
    archive = real_data / "sequences" / "ravdess_au.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    got = read_dataset("ravdess", tmp_path)
    counts = dict(zip(got.classes, got.counts().tolist(), strict=True))
    assert counts == dict.fromkeys(got.classes, 40) | {"neutral": 20}
    assert got.table.groupby("subject").size().to_dict() == {f"Actor_0{actor}": 60 for actor in range(1, 6)}
    six = read_dataset("ravdess", tmp_path, {"emotions": "six"})
    assert six.counts().tolist() == [40] * 6
    header = (got.root / got.table["path"][0]).read_text().splitlines()[0].split(";")
    assert (sum(name.endswith("_r") for name in header), sum(name.endswith("_c") for name in header)) == (17, 18)
    store = prepared("ravdess", tmp_path, 10, features="intensities")
    assert store.sequences.shape == (300, 10, 17, 1)
    assert len(store.quarantine) == 0
