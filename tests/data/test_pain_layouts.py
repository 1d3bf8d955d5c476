"""X-ITE, MIntPAIN and AI4Pain 2024: read from small trees in the layouts that public programs read."""

import numpy as np
import pytest
from layouts import columns_of, plant, refused
from scipy.io import savemat

from evenface.config.recipe import FrameSampler, Sequences
from evenface.data.datasets import dataset_facts, list_sources, read_dataset
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.sequence_files import read_numbers
from evenface.preprocessing.target import SequenceSpec
from evenface.utils.errors import SampleError


def mintpain(root):
    """Two subjects, whose folders have names of persons; one sweep has no colour images, another folder is no sweep."""
    for number, person in ((1, "Sub1 Some Person"), (12, "Sub12 Another")):
        trial = f"Extracted_Data/{person}/Annotated_data_Sub{number:02}_Trial01"
        for label in range(5):
            sweep = f"{trial}/Sub{number:02}_Trial01_Sweep{label + 1:02}_Label{label}"
            plant(root, *(f"{sweep}/{kind}/{kind}-11-51-02-0{frame}.jpg" for kind in ("RGB", "T") for frame in (1, 2)))
    plant(root, f"{trial}/Sub12_Trial01_Sweep09_Label0/T/T-1.jpg", "Extracted_Data/notes/readme.jpg")
    return root


def ai4pain(root):
    for side, subject in (("Train", 1), ("Train", 7), ("Validation", 3)):
        names = ("baseline", "pain_low_1", "pain_high_2", "rest_1")
        plant(root, *(f"{side}/video/{subject}/{subject}_{name}.mp4" for name in names))
    return plant(root, "Test/video/9/9_x1.mp4", "Train/fnirs/1.csv", "documents/a.mp4")


def xite(root, second=1000):
    """Pauses of 10 s; short heat at levels 2 and 1, long heat, electricity, a stimulus without a pause, an artefact."""
    parts = [(0, 10), (2, 5), (0, 3), (1, 5), (-1, 5), (0, 70), (5, 60), (0, 10), (-10, 4), (0, 10), (3, 5)]
    stimuli = np.concatenate([np.full(seconds * second, code) for code, seconds in parts])
    (root / "Bio").mkdir(parents=True)
    savemat(root / "Bio/S004.mat", {"data": np.zeros((len(stimuli), 5)), "stimuli": stimuli[:, None]})
    return plant(root, "Video/S004_fvf.mp4", "Video/S004_fvs.mp4")


TREES = {"mintpain": mintpain, "ai4pain": ai4pain, "xite": xite}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_read_the_same_wherever_it_is(name, tmp_path):
    got = read_dataset(name, TREES[name](tmp_path / "a"))
    assert (got.content, got.task) == ("clips", "ordinal")
    assert all((got.root / path).exists() for path in got.table["path"])
    assert got.table["sample"].is_unique
    assert read_dataset(name, TREES[name](tmp_path / "b")).hash == got.hash


@pytest.mark.parametrize("name", TREES)
def test_an_empty_folder_is_refused_with_what_is_needed(name, tmp_path):
    with refused(f"{name}: no "):
        read_dataset(name, tmp_path)
    with refused(dataset_facts(name).needs):
        read_dataset(name, tmp_path)


def test_mintpain_names_subjects_by_number(tmp_path):
    got = read_dataset("mintpain", mintpain(tmp_path))
    assert got.classes == ("0", "1", "2", "3", "4")
    assert got.labels.tolist() == [0, 1, 2, 3, 4] * 2
    assert got.table["subject"].tolist() == ["Sub01"] * 5 + ["Sub12"] * 5
    assert got.table["path"].iloc[0] == (
        "Extracted_Data/Sub1 Some Person/Annotated_data_Sub01_Trial01/Sub01_Trial01_Sweep01_Label0/RGB"
    )
    assert not got.table[["sample", "clip", "subject"]].map(lambda cell: "Person" in cell).any(axis=None)
    assert got.notes == (
        "sweeps without colour images are excluded: Sub12_Trial01_Sweep09_Label0",
        "subjects found: 2; the complete dataset has 20",
    )


def test_mintpain_refuses_an_unknown_label_and_sweeps_without_images(tmp_path):
    plant(tmp_path / "a", "Sub1/T/Sub01_Trial01_Sweep01_Label7/RGB/RGB-1.jpg")
    with refused("mintpain: the folder Sub01_Trial01_Sweep01_Label7 has the label 7"):
        read_dataset("mintpain", tmp_path / "a")
    plant(tmp_path / "b", "Sub1/T/Sub01_Trial01_Sweep01_Label1/D/D-1.png")
    with refused("mintpain: none of 1 sweeps in "):
        read_dataset("mintpain", tmp_path / "b")


def test_ai4pain_reads_levels_and_sets(tmp_path):
    got = read_dataset("ai4pain", ai4pain(tmp_path))
    assert got.classes == ("no pain", "low pain", "high pain")
    rows = {
        path: (got.classes[label], *rest) for path, label, *rest in columns_of(got, "path", "label", "subject", "split")
    }
    assert len(rows) == 9
    assert rows["Train/video/7/7_pain_high_2.mp4"] == ("high pain", "7", "train")
    assert rows["Train/video/1/1_baseline.mp4"] == ("no pain", "1", "train")
    assert rows["Validation/video/3/3_pain_low_1.mp4"] == ("low pain", "3", "validation")
    assert got.notes == (
        "videos of Test without a level are excluded: 1",
        "videos of Train without a level are excluded: 2",
        "videos of Validation without a level are excluded: 1",
    )


def test_ai4pain_without_a_level_or_without_labels_is_refused(tmp_path):
    plant(tmp_path / "a", "Train/video/1/1_baseline.mp4", "Train/video/1/1_pain_low_1.mp4")
    with refused("ai4pain: no videos of high pain in "):
        read_dataset("ai4pain", tmp_path / "a")
    plant(tmp_path / "b", "Train/Bvp/1.mp4")
    with refused("ai4pain: none of the 1 videos in "):
        read_dataset("ai4pain", tmp_path / "b")


@pytest.mark.parametrize(
    ("options", "spans"),
    [
        # (level, start, end) in seconds of those that follow a pause, each after its level 0
        ({}, [(0, 5, 10), (2, 10, 15), (0, 15, 18), (1, 18, 23), (0, 177, 182), (3, 182, 187)]),
        ({"delay": 2}, [(0, 5, 10), (2, 12, 17), (0, 15, 18), (1, 20, 25), (0, 177, 182), (3, 184, 187)]),
        ({"duration": "tonic"}, [(0, 38, 98), (2, 98, 158)]),
    ],
)
def test_xite_reads_stimuli_after_a_pause_and_the_pause(options, spans, tmp_path):
    got = read_dataset("xite", xite(tmp_path), options)
    assert got.classes == ("0", "1", "2", "3")
    expected = [(level, 25 * start, 25 * end) for level, start, end in spans]
    assert [tuple(row) for row in columns_of(got, "label", "start", "end")] == expected
    assert set(got.table["path"]) == {"Video/S004_fvf.mp4"}
    slower = read_dataset("xite", tmp_path, {**options, "frame_rate": 10})
    assert slower.table["end"].tolist() == [10 * end for _, _, end in spans]


def test_xite_states_what_it_excludes_and_refuses(tmp_path):
    xite(tmp_path)
    plant(tmp_path, "Video/S005_fvf.mp4")
    savemat(tmp_path / "Bio/S006.mat", {"stimuli": np.zeros(9)})
    assert read_dataset("xite", tmp_path).notes == (
        "subjects without signals are excluded: S005",
        "subjects without video are excluded: S006",
        "subjects found: 1; the complete dataset has 134",
    )
    with refused("xite: no phasic electrical stimuli in "):  # the only one follows heat at once
        read_dataset("xite", tmp_path, {"stimulus": "electrical"})
    with refused("xite: delay must be from 0 to 60"):
        read_dataset("xite", tmp_path, {"delay": -1})
    for content, words in (({"data": np.zeros(3)}, "has no array stimuli"), ({"stimuli": "text"}, "has no numbers")):
        savemat(tmp_path / "Bio/S004.mat", content)
        with refused(words):
            read_dataset("xite", tmp_path)
    for damage in (b"", b"MATLAB 7.3 MAT-file" + bytes(500), b"\xff" * 300):
        (tmp_path / "Bio/S004.mat").write_bytes(damage)
        with refused("S004.mat cannot be read as a MATLAB file before 7.3"):
            read_dataset("xite", tmp_path)


def test_xite_biosignals_are_the_rows_of_the_same_stimuli(tmp_path):
    videos = read_dataset("xite", xite(tmp_path))
    got = read_dataset("xite", tmp_path, {"modality": "signals"})
    shared = ["sample", "label", "subject", "clip"]
    assert got.content == "sequences"
    assert got.table[shared].equals(videos.table[shared])
    assert (got.table[["start", "end"]] == 40 * videos.table[["start", "end"]]).all(axis=None)  # 1,000 Hz, 25 Hz
    assert set(got.table["path"]) == {"Bio/S004.mat"}
    stimuli = np.repeat([0, 2, 0, 1], 8)
    columns = np.random.default_rng(3).normal(size=(32, 5))
    for subject in ("S001", "S002"):  # without a video
        savemat(tmp_path / f"Bio/{subject}.mat", {"stimuli": stimuli, "data": columns * int(subject[3])})
    (tmp_path / "Bio/S004.mat").unlink()
    signals = read_dataset("xite", tmp_path, {"modality": "signals"})
    assert signals.notes[0] == "subjects without signals are excluded: S004"
    store = prepare(signals, tmp_path / "stores", size=48, sequences=Sequences(frames=2, sampling="mean"))
    means = columns.reshape(4, 2, 4, 5).mean(axis=2)  # four spans, two parts of four rows each
    np.testing.assert_allclose(store.sequences[..., 0], np.concatenate([means, 2 * means]), rtol=1e-5)
    with refused("xite: the option frame_rate has no effect with modality: signals"):
        read_dataset("xite", tmp_path, {"modality": "signals", "frame_rate": 10})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"stimuli": np.zeros(4)}, "wrong arrays: no data among stimuli"),
        ({"data": "text"}, "not numbers: the array data"),
        ({"data": np.zeros((0, 5))}, "no frames"),
    ],
)
def test_a_matlab_file_without_the_array_is_named_with_the_reason(content, reason, tmp_path):
    savemat(tmp_path / "S001.mat", content)
    spec = SequenceSpec(points="features", numbers="data", frames=2, origin="files", shape=(5, 1))
    with pytest.raises(SampleError, match=reason):
        read_numbers(str(tmp_path / "S001.mat"), None, None, spec)
    (tmp_path / "S001.mat").write_bytes(b"\xff" * 300)
    with pytest.raises(SampleError, match="corrupt"):
        read_numbers(str(tmp_path / "S001.mat"), None, None, spec)


def test_xite_frames_are_those_of_the_stimulus(tmp_path, forked_workers):
    from films import make_video, shade

    stimuli = np.repeat([0, 3, 0, 1], 200)  # 0.2 s each: 5 frames at 25 Hz
    (tmp_path / "data/Bio").mkdir(parents=True)
    savemat(tmp_path / "data/Bio/S001.mat", {"stimuli": stimuli})
    make_video(tmp_path / "data/S001_fvf.avi", 20)
    manifest = read_dataset("xite", tmp_path / "data")
    assert manifest.labels.tolist() == [0, 3, 0, 1]
    store = prepare(manifest, tmp_path / "stores", size=32, clips=FrameSampler(frames=5))
    shown = store.images.reshape(4, 5, 32, 32)[:, :, 20, 16].astype(int)
    assert np.abs(shown - np.array([shade(frame) for frame in range(20)]).reshape(4, 5)).max() <= 1


def test_a_dataset_without_a_reader_is_named_with_what_to_do(tmp_path):
    lines = list_sources(["senseemotion"])
    assert lines[0].startswith("senseemotion ")
    assert "list its videos in a table" in "\n".join(lines)
    with refused("there is no source 'senseemotion'\n  Its folders are not described publicly"):
        read_dataset("senseemotion", tmp_path)
