"""Datasets of units, films and posed images: read from small trees in their layouts, and refused when damaged."""

from pathlib import Path

import numpy as np
import pytest
from layouts import columns_of, named, plant, refused

from evenface.config.recipe import FrameSampler
from evenface.data.datasets import dataset_facts, read_dataset
from evenface.data.manifest import Manifest
from evenface.data.targets import select_targets
from evenface.preprocessing.prepare import prepare
from evenface.utils.errors import InputError

UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def disfa(root):
    """Two subjects; of every frame, AU of index i has (frame + i) % 6."""
    for subject, frames in (("SN001", 12), ("SN002", 6)):
        plant(
            root, f"Videos_LeftCamera/LeftVideo{subject}_comp.avi", f"Videos_RightCamera/RightVideo{subject}_Comp.avi"
        )
        for i, unit in enumerate(UNITS):
            lines = [f"{frame},{(frame + i) % 6}" for frame in range(1, frames + 1)]
            write(root / f"ActionUnit_Labels/{subject}/{subject}_au{unit}.txt", *lines)
    return root


def disfa_plus(root):
    for subject in ("SN001", "SN003"):
        trial = f"{subject}/A1_AU1_TrailNo_1"
        plant(root, *(f"Images/{trial}/{n:03}.jpg" for n in range(6)))
        for i, unit in enumerate(UNITS):
            lines = [f"{n:03}.jpg     {(n + i) % 6}" for n in range(6)]
            write(root / f"Labels/{trial}/AU{unit}.txt", "Action unit intensity", "image    intensity", *lines)
    return root


BP4D = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)


def bp4d(root):
    """Frames 5 to 8; AU of index i is present where (frame + i) is odd; AU24 is not coded in T1."""
    header = ",".join(map(str, range(31)))
    for sequence in ("F001_T1", "F001_T2", "M002_T1"):
        lines = []
        for frame in range(5, 9):
            cells = [9] * 31
            cells[0] = frame
            for i, unit in enumerate(BP4D):
                cells[unit] = (frame + i) % 2 if unit != 24 or not sequence.endswith("T1") else 9
            lines.append(",".join(map(str, cells)))
        write(root / f"AUCoding/AU_OCC/{sequence}.csv", header, *lines)
        for unit in ("AU06", "AU10"):
            lines = [f"{frame},{frame - 4 if frame < 8 else 9}" for frame in range(5, 9)]
            write(root / f"AUCoding/AU_INT/{unit}/{sequence}_{unit}.csv", *lines)
        subject, task = sequence.split("_")
        plant(root, *(f"Sequences(2D+3D)/{subject}/{task}/{frame:04}.jpg" for frame in range(5, 9)))
    return root


def affwild2(root):
    """Video a has 4 frames, of which the third has no image, b has 3; the first frame of each is not annotated."""
    plant(root, *(f"cropped_aligned/{name}.jpg" for name in ("a/00001", "a/00002", "a/00004")))
    plant(root, *(f"cropped_aligned/{name}.jpg" for name in ("b/00001", "b/00002", "b/00003")))
    units = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
    presences = ["-1" + ",-1" * 11, "0" + ",1" * 11, "0" + ",0" * 11, "1,-1" + ",0" * 10]
    expressions = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    tasks = {
        "EXPR_Recognition_Challenge": (expressions, ["-1", "4", "0", "7"]),
        "AU_Detection_Challenge": (units, presences),
        "VA_Estimation_Challenge": ("valence,arousal", ["-5,-5", "0.5,-0.25", "0,0", "-1,1"]),
    }
    for folder, (header, lines) in tasks.items():
        write(root / f"6th ABAW Annotations/{folder}/Train_Set/a.txt", header, *lines)
        write(root / f"6th ABAW Annotations/{folder}/Validation_Set/b.txt", header, *lines[:3])
    return root


def dfew(root):
    write(
        root / "EmoLabel_DataSplit/train(single-labeled)/set_1.csv",
        "video_name,label",
        *(f"{n},{n}" for n in range(1, 8)),
    )
    write(root / "EmoLabel_DataSplit/test(single-labeled)/set_1.csv", "video_name,label", "8,7", "12000,1")
    plant(root, *(f"Clip/clip_224x224/{n:05}/{frame}.jpg" for n in (*range(1, 9), 12000) for frame in (1, 2)))
    return root


def ferv39k(root):
    write(root / "4_setups/All_scenes/train_All.csv", "Action/Happy/0267 Happy", "Crime/Sad/0001 Sad")
    write(root / "4_setups/All_scenes/test_All.csv", "Action/Angry/0003 Angry")
    plant(
        root,
        *(f"2_ClipsforFaceCrop/{clip}/01.jpg" for clip in ("Action/Happy/0267", "Crime/Sad/0001", "Action/Angry/0003")),
    )
    return root


def mafw(root):
    top = "Train & Test Set"
    write(root / f"{top}/single/no_caption/set_1/train.txt", "00001.mp4 anger", "00002.mp4 disappointment")
    write(root / f"{top}/single/no_caption/set_1/test.txt", "00003.mp4 happiness")
    write(root / f"{top}/compound/no_caption/set_1/train.txt", "00001.mp4 anger_disgust", "00002.mp4 disappointment")
    write(root / f"{top}/compound/no_caption/set_1/test.txt", "00003.mp4 happiness")
    plant(root, *(f"data/clips/0000{n}.mp4" for n in (1, 2, 3)))
    return root


def kdef(root):
    words = ("AN", "DI", "AF", "HA", "SA", "SU", "NE")
    names = [f"{s}{p}/{s}{p}{w}{v}.JPG" for s in "AB" for p in ("F01", "M02") for w in words for v in ("S", "HL", "FR")]
    return plant(root, *(f"KDEF/{name}" for name in names), "KDEF/AF31/AF31V.JPG")


def jaffe(root):
    words = ("AN", "DI", "FE", "HA", "SA", "SU", "NE")
    return plant(
        root, *(f"{p}.{w}{n}.{7 * n + i}.tiff" for p in ("KA", "YM") for i, w in enumerate(words) for n in (1, 2))
    )


def expw(root):
    lines = [
        "a_1.jpg 0 28 113 226 141 22.9362 0",
        "b_2.jpg 0 1 2 3 4 9.5 6",
        "c_3.jpg 0 1 2 3 4 9 1",
        "c_3.jpg 1 5 6 7 8 9 3",
    ]
    write(root / "data/label/label.lst", *lines)
    return plant(root, *(f"data/image/origin/{name}.jpg" for name in ("a_1", "b_2", "c_3")))


TREES = {
    "disfa": disfa, "disfa-plus": disfa_plus, "bp4d": bp4d, "affwild2": affwild2, "dfew": dfew, "ferv39k": ferv39k,
    "mafw": mafw, "kdef": kdef, "jaffe": jaffe, "expw": expw,
}  # fmt: skip
OPTIONS = [
    *((name, {}) for name in TREES),
    ("bp4d", {"labels": "intensity"}),
    ("affwild2", {"labels": "units"}),
    ("affwild2", {"labels": "affect"}),
    ("mafw", {"labels": "multi"}),
    ("kdef", {"views": "all"}),
    ("disfa", {"camera": "right", "every": 3}),
]

# --- what holds for each of them


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_tree_is_read_the_same_from_a_file_and_wherever_it_is(name, options, tmp_path):
    got = read_dataset(name, TREES[name](tmp_path / "a"), options)
    assert (got.root / got.table["path"].iloc[0]).exists()
    assert got.table["sample"].is_unique
    got.save(tmp_path / "m.parquet")
    assert Manifest.load(tmp_path / "m.parquet").hash == got.hash
    assert read_dataset(name, TREES[name](tmp_path / "b"), options).hash == got.hash
    if got.targets:
        assert np.isfinite(got.target_values(np.arange(len(got)))).any(axis=0).all()
        assert set(got.targets) <= set(got.table.columns)


@pytest.mark.parametrize("name", TREES)
def test_an_empty_folder_is_refused_with_what_is_needed(name, tmp_path):
    with pytest.raises(InputError, match=f"^{name}: ") as info:
        read_dataset(name, tmp_path)
    assert info.value.hint.startswith("Expected ")
    assert dataset_facts(name).needs == info.value.hint
    with refused(f"{name}: the folder {tmp_path / 'none'} does not exist"):
        read_dataset(name, tmp_path / "none")


DAMAGE = (b"", b"\xff\xfe\x00", b"x,y,z\n", b"1,7\n", b"\x00\x01\x02", b"999999 999999 999999\n", b"nan,nan\n-1\n")


def refusal(name, root, options):
    """Return the message with which a tree is refused; none if it is read."""
    try:
        read_dataset(name, root, options)
    except InputError as error:
        return error.message
    return ""


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_damaged_file_gives_one_sentence(name, options, tmp_path):
    root = TREES[name](tmp_path)
    labels = [path for path in sorted(root.rglob("*")) if path.suffix in (".txt", ".csv", ".lst")]
    messages = []
    for path in labels[::2]:
        whole = path.read_bytes()
        for content in (*DAMAGE, whole[: len(whole) // 2], whole + whole):
            path.write_bytes(content)
            messages.append(refusal(name, root, options))
        path.unlink()
        messages.append(refusal(name, root, options))
        path.write_bytes(whole)
    assert all(message.startswith(f"{name}: ") and "\n" not in message for message in messages if message)
    assert any(messages) or not labels
    assert not refusal(name, root, options)


# --- DISFA


def test_disfa_reads_each_frame_with_its_intensities(tmp_path):
    got = read_dataset("disfa", disfa(tmp_path))
    assert got.task == "multilabel"
    assert got.targets == tuple(f"AU{unit}" for unit in UNITS)
    assert got.content == "clips"
    assert len(got) == 18
    second = got.table.iloc[1]
    assert (second["sample"], second["path"]) == ("SN001/00002", "Videos_LeftCamera/LeftVideoSN001_comp.avi")
    assert (second["start"], second["end"], second["subject"], second["clip"]) == (1, 2, "SN001", "SN001")
    expected = [[(frame + i) % 6 >= 1 for i in range(12)] for frame in range(1, 13)]
    np.testing.assert_array_equal(got.target_values(np.arange(12)), expected)
    assert got.notes == ("subjects found: 2; the complete dataset has 27",)


def test_disfa_as_intensities_or_present_from_two(tmp_path):
    manifest = read_dataset("disfa", disfa(tmp_path))
    intensities = np.array([[(frame + i) % 6 for i in range(12)] for frame in range(1, 13)])
    graded = select_targets(manifest, "regression")
    np.testing.assert_array_equal(graded.target_values(np.arange(12)), intensities)
    strong = select_targets(manifest, None, (), 2)
    assert strong.task == "multilabel"
    np.testing.assert_array_equal(strong.target_values(np.arange(12)), intensities >= 2)
    weak = select_targets(strong, None, ("AU4", "AU12"), 1)
    np.testing.assert_array_equal(weak.target_values(np.arange(12)), intensities[:, [2, 6]] >= 1)


def test_disfa_takes_every_nth_frame_of_either_camera(tmp_path):
    got = read_dataset("disfa", disfa(tmp_path), {"camera": "right", "every": 5})
    assert got.table["start"].tolist() == [0, 5, 10, 0, 5]
    assert got.table["path"].iloc[0] == "Videos_RightCamera/RightVideoSN001_Comp.avi"
    with refused("disfa: every must be at least 1, got 0"):
        read_dataset("disfa", tmp_path, {"every": 0})


def test_disfa_takes_folders_of_frames_if_there_is_one_image_per_label(tmp_path):
    disfa(tmp_path)
    (tmp_path / "Videos_LeftCamera/LeftVideoSN002_comp.avi").unlink()
    plant(tmp_path, *(f"Videos_LeftCamera/LeftVideoSN002_comp/{n:05}.jpg" for n in range(1, 7)))
    assert read_dataset("disfa", tmp_path).table["path"].iloc[-1] == "Videos_LeftCamera/LeftVideoSN002_comp"
    plant(tmp_path, "Videos_LeftCamera/LeftVideoSN002_comp/00007.jpg")
    with refused("LeftVideoSN002_comp has 7 images, but"):
        read_dataset("disfa", tmp_path)


def test_disfa_frames_are_those_of_the_video(tmp_path, forked_workers):
    from films import make_video, shade

    root = disfa(tmp_path / "disfa")
    for subject, frames in (("SN001", 12), ("SN002", 5)):  # the second video ends a frame early
        make_video(root / f"Videos_LeftCamera/LeftVideo{subject}_comp.avi", frames)
    manifest = read_dataset("disfa", root)
    store = prepare(manifest, tmp_path / "stores", size=32, clips=FrameSampler(frames=1))
    assert store.manifest.table["sample"].tolist() == manifest.table["sample"].tolist()[:-1]
    middle = store.images.reshape(17, 32, 32)[:, 20, 16].astype(int)
    expected = [shade(number) for number in (*range(12), *range(5))]
    assert np.abs(middle - expected).max() <= 1
    np.testing.assert_array_equal(store.manifest.target_values(np.arange(17)), manifest.target_values(np.arange(17)))


def test_disfa_excludes_what_has_no_counterpart(tmp_path):
    disfa(tmp_path)
    (tmp_path / "Videos_LeftCamera/LeftVideoSN001_comp.avi").unlink()
    plant(tmp_path, "Videos_LeftCamera/LeftVideoSN030_comp.avi")
    got = read_dataset("disfa", tmp_path)
    assert got.table["subject"].unique().tolist() == ["SN002"]
    assert got.notes[:2] == ("subjects without video are excluded: SN001", "videos without labels are excluded: SN030")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1,0", "2,6"], "line 2 of {path} has frame 2 and intensity 6\n  Expected consecutive frames from 1"),
        (["1,0", "3,1"], "line 2 of {path} has frame 3 and intensity 1"),
        (["1,0", "2,x"], "line 2 of {path} is '2,x', expected a frame and an intensity, such as '1,0'"),
        (["1,0"], "have different numbers of frames: AU1 12"),
    ],
)
def test_disfa_names_the_line_that_is_wrong(tmp_path, lines, words):
    path = disfa(tmp_path) / "ActionUnit_Labels/SN001/SN001_au9.txt"
    write(path, *lines)
    with refused(words.format(path=path)):
        read_dataset("disfa", tmp_path)


def test_disfa_plus(tmp_path):
    got = read_dataset("disfa-plus", disfa_plus(tmp_path))
    assert got.content == "stills"
    first = got.table.iloc[0]
    assert first["path"] == "Images/SN001/A1_AU1_TrailNo_1/000.jpg"
    assert (first["subject"], first["clip"]) == ("SN001", "SN001/A1_AU1_TrailNo_1")
    graded = select_targets(got, "regression").target_values(np.arange(6))
    np.testing.assert_array_equal(graded, [[(n + i) % 6 for i in range(12)] for n in range(6)])
    path = tmp_path / "Labels/SN001/A1_AU1_TrailNo_1/AU4.txt"
    write(path, "Action unit intensity", "", "000.jpg 0", "001.jpg 9")
    with refused(f"line 4 of {path} is '001.jpg 9'"):
        read_dataset("disfa-plus", tmp_path)


# --- BP4D


def test_bp4d_reads_coded_frames(tmp_path):
    got = read_dataset("bp4d", bp4d(tmp_path))
    assert got.targets == tuple(f"AU{unit}" for unit in BP4D)
    assert got.task == "multilabel"
    assert columns_of(got, "path", "subject", "clip")[4] == ("Sequences(2D+3D)/F001/T2/0005.jpg", "F001", "F001/T2")
    values = got.target_values(np.arange(8))
    expected = np.array([[(frame + i) % 2 for i in range(12)] for frame in [5, 6, 7, 8] * 2], dtype=float)
    expected[:4, -1] = np.nan
    np.testing.assert_array_equal(values, expected)


def test_bp4d_intensities_and_shifted_images(tmp_path):
    got = read_dataset("bp4d", bp4d(tmp_path), {"labels": "intensity"})
    assert got.targets == ("AU6", "AU10")
    np.testing.assert_array_equal(got.target_values(np.arange(4))[:, 0], [1, 2, 3, np.nan])
    shifted = read_dataset("bp4d", tmp_path, {"shift": -1})
    assert shifted.table["path"].iloc[1] == "Sequences(2D+3D)/F001/T1/0005.jpg"
    assert shifted.notes[-1].startswith("3 of 12 files listed in AUCoding do not exist")


def test_bp4d_intensities_need_no_occurrences(tmp_path):
    write(bp4d(tmp_path) / "AUCoding/AU_OCC/F001_T1.csv", "damaged")
    assert len(read_dataset("bp4d", tmp_path, {"labels": "intensity"})) == 12
    with refused("the header of"):
        read_dataset("bp4d", tmp_path)


def test_bp4d_plus_has_other_headers_and_names_of_images(tmp_path):
    """BP4D+ lists the coded units only, the column of frames under the number of a unit."""
    for sequence in ("F001_T1", "F002_T1"):
        write(tmp_path / f"AUCoding/AU_OCC/{sequence}.csv", "1,1,2,4", "7,1,0,9", "8,0,1,1")
        plant(tmp_path, *(f"2D+3D/{sequence.replace('_', '/')}/{frame:03}.jpg" for frame in (7, 8)))
    got = read_dataset("bp4d", tmp_path)
    assert got.table["path"].iloc[0] == "2D+3D/F001/T1/007.jpg"
    assert got.targets == ("AU1", "AU2")
    assert got.notes == ("targets with a single value are left out: AU4",)


def test_bp4d_says_what_is_wrong(tmp_path):
    path = bp4d(tmp_path) / "AUCoding/AU_OCC/F001_T1.csv"
    write(path, "0,1,2", "5,1,3")
    with refused(f"AU2 of frame 5 in {path} is 3\n  Expected 0, 1 or 9 for not coded."):
        read_dataset("bp4d", tmp_path)
    write(path, "0,1,1", "5,1,0")
    with refused("the header of"):
        read_dataset("bp4d", tmp_path)


# --- Aff-Wild2


def test_affwild2_expressions(tmp_path):
    got = read_dataset("affwild2", affwild2(tmp_path))
    assert named(got) == {"a/00002": "happy", "a/00004": "other", "b/00002": "happy", "b/00003": "neutral"}
    assert got.table["split"].tolist() == ["train", "train", "validation", "validation"]
    assert got.table["clip"].tolist() == ["a", "a", "b", "b"]
    assert got.notes == ("3 frames without annotation or image are excluded",)


def test_affwild2_units_and_affect(tmp_path):
    units = read_dataset("affwild2", affwild2(tmp_path), {"labels": "units"})
    assert units.task == "multilabel"
    np.testing.assert_array_equal(units.target_values(np.arange(2))[:, :3], [[0, 1, 1], [1, np.nan, 0]])
    affect = read_dataset("affwild2", tmp_path, {"labels": "affect"})
    assert affect.task == "regression"
    np.testing.assert_array_equal(affect.target_values(np.arange(4)), [[0.5, -0.25], [-1, 1], [0.5, -0.25], [0, 0]])


def test_affwild2_names_the_frame_that_is_wrong(tmp_path):
    path = affwild2(tmp_path) / "6th ABAW Annotations/VA_Estimation_Challenge/Train_Set/a.txt"
    write(path, "valence,arousal", "0.5,0", "0.5,1.5")
    with refused(f"arousal of frame 2 in {path} is 1.5\n  Expected -1 to 1, or -5 where it is not annotated."):
        read_dataset("affwild2", tmp_path, {"labels": "affect"})


# --- films


def test_dfew(tmp_path):
    got = read_dataset("dfew", dfew(tmp_path))
    words = ["happy", "sad", "neutral", "angry", "surprise", "disgust", "fear"]
    assert named(got) == {**{f"{n:05}": word for n, word in enumerate(words, 1)}, "00008": "fear", "12000": "happy"}
    assert got.table["split"].tolist() == ["train"] * 7 + ["test"] * 2
    assert got.table["path"].iloc[-1] == "Clip/clip_224x224/12000"
    assert read_dataset("dfew", tmp_path.parent if tmp_path.name == "DFEW" else tmp_path).content == "clips"
    with refused("set_2.csv does not exist"):
        read_dataset("dfew", tmp_path, {"fold": 2})
    write(tmp_path / "EmoLabel_DataSplit/test(single-labeled)/set_1.csv", "video_name,label", "8,9")
    with refused("has clip 8 and label 9\n  Known: 1 happy, 2 sad"):
        read_dataset("dfew", tmp_path)


def test_ferv39k(tmp_path):
    got = read_dataset("ferv39k", ferv39k(tmp_path / "FERV39k").parent)
    assert named(got) == {"Action/Happy/0267": "happy", "Crime/Sad/0001": "sad", "Action/Angry/0003": "angry"}
    assert columns_of(got, "split", "scene") == [("train", "Action"), ("train", "Crime"), ("test", "Action")]
    write(got.root / "4_setups/All_scenes/test_All.csv", "Action/Angry/0003 Sad")
    with refused("line 1 of"):
        read_dataset("ferv39k", tmp_path)


def test_mafw(tmp_path):
    single = read_dataset("mafw", mafw(tmp_path))
    assert named(single) == {"00001": "angry", "00002": "disappointment", "00003": "happy"}
    assert len(single.classes) == 11
    several = read_dataset("mafw", tmp_path, {"labels": "multi"})
    assert several.task == "multilabel"
    assert several.targets == ("angry", "disgust", "happy", "disappointment")
    np.testing.assert_array_equal(several.target_values(np.arange(3)), [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    assert several.table["split"].tolist() == ["train", "train", "test"]
    write(tmp_path / "Train & Test Set/single/no_caption/set_1/test.txt", "00003.mp4 joy")
    with refused("has the label joy\n  Known: angry"):
        read_dataset("mafw", tmp_path)


# --- posed images


def test_kdef_knows_people_from_file_names(tmp_path):
    got = read_dataset("kdef", kdef(tmp_path))
    assert len(got) == 28
    assert named(got)["BM02AFS"] == "fear"
    assert set(columns_of(got, "subject", "sex")) == {("F01", "female"), ("M02", "male")}
    assert got.notes == ("images with other names are excluded: 1, such as KDEF/AF31/AF31V.JPG",)
    assert set(read_dataset("kdef", tmp_path, {"views": "half"}).table["view"]) == {"S", "HL"}
    assert set(read_dataset("kdef", tmp_path, {"views": "all"}).table["view"]) == {"S", "HL", "FR"}
    plant(tmp_path, "copy/AF01ANS.JPG")
    with refused("several files are called AF01ANS: KDEF/AF01/AF01ANS.JPG, copy/AF01ANS.JPG"):
        read_dataset("kdef", tmp_path)


def test_jaffe_knows_people_from_file_names(tmp_path):
    got = read_dataset("jaffe", jaffe(tmp_path))
    assert got.counts().tolist() == [4] * 7
    assert named(got)["YM.FE1.9"] == "fear"
    assert got.table.groupby("subject").size().to_dict() == {"KA": 14, "YM": 14}


def test_expw_excludes_images_of_several_faces(tmp_path):
    got = read_dataset("expw", expw(tmp_path))
    assert named(got) == {"a_1.jpg": "angry", "b_2.jpg": "neutral"}
    assert got.table["confidence"].tolist() == [22.9362, 9.5]
    assert got.notes == ("2 faces in 1 images with several labelled faces are excluded",)
    write(tmp_path / "data/label/label.lst", "a_1.jpg 0 1 2 3 4 9.5 7")
    with refused("expw: line 1 of label/label.lst is 'a_1.jpg 0 1 2 3 4 9.5 7'"):
        read_dataset("expw", tmp_path)


# --- units of UNBC-McMaster and CK+; valence and arousal of AffectNet


def unbc(root, facs=True):
    """Three frames: PSPI 0, 5 = AU4 1 + AU6 2 + AU9 2, and 1 = AU43."""
    coded = ["", "4 1 0 0\n6 2 0 0\n7 1 0 0\n9 2 0 0\n12 3 0 0\n50 1 0 0", "4.3000000e+01   1.0000000e+00   0   0"]
    for n, (pspi, lines) in enumerate(zip((0, 5, 1), coded, strict=True)):
        clip, frame = "042-ll042/ll042t1aaaff", f"ll042t1aaaff{n:03}"
        plant(root, f"Images/{clip}/{frame}.png")
        write(root / f"Frame_Labels/PSPI/{clip}/{frame}_facs.txt", f"  {pspi:.7e}")
        if facs:
            write(root / f"Frame_Labels/FACS/{clip}/{frame}_facs.txt", lines)
    return root


def test_unbc_reads_units_beside_pspi(tmp_path):
    got = read_dataset("unbc", unbc(tmp_path))
    assert got.task == "ordinal"
    expected = [(0, 0, 0, 0, 0), (5, 1, 2, 1, 0), (1, 0, 0, 0, 1)]
    assert columns_of(got, "pspi", "AU4", "AU6", "AU7", "AU43") == expected
    assert "action units that are not read: 50" in got.notes
    assert not any("PSPI is not that" in note for note in got.notes)
    pain = select_targets(got, "regression", ("pspi",))
    assert pain.target_values(np.arange(3)).tolist() == [[0], [5], [1]]
    clip = read_dataset("unbc", tmp_path, {"unit": "clip", "scale": "pspi"})
    assert columns_of(clip, "pspi", "AU4", "AU43") == [(5, 1, 1)]


def test_unbc_counts_frames_whose_pspi_is_not_that_of_its_units(tmp_path):
    path = unbc(tmp_path) / "Frame_Labels/FACS/042-ll042/ll042t1aaaff/ll042t1aaaff001_facs.txt"
    write(path, "4 2 0 0")
    assert "frames whose PSPI is not that of their action units: 1" in read_dataset("unbc", tmp_path).notes
    path.unlink()
    got = read_dataset("unbc", tmp_path)
    assert "frames without action units: 1" in got.notes
    assert got.table["AU4"].isna().tolist() == [False, True, False]
    write(path, "4 9 0 0")
    with refused("codes AU4 at 9, expected 0 to 5"):
        read_dataset("unbc", tmp_path)


def test_unbc_without_units_is_as_before(tmp_path):
    assert not any(name.startswith("AU") for name in read_dataset("unbc", unbc(tmp_path, facs=False)).table)


def ckplus(root):
    for subject, code, units in (("S005", 3, "9 0\n17 4"), ("S010", None, "1 2\n2 2\n25 0"), ("S011", 7, None)):
        plant(root, *(f"cohn-kanade-images/{subject}/001/{subject}_001_0000000{n}.png" for n in (1, 2, 3)))
        (root / f"Emotion/{subject}/001").mkdir(parents=True)
        if code is not None:
            write(root / f"Emotion/{subject}/001/{subject}_001_00000003_emotion.txt", f"   {code:.7e}")
        if units is not None:
            write(root / f"FACS/{subject}/001/{subject}_001_00000003_facs.txt", units)
    return root


def test_ckplus_units_are_a_multilabel_task(tmp_path):
    got = read_dataset("ckplus", ckplus(tmp_path), {"labels": "units"})
    assert got.task == "multilabel"
    assert got.targets == ("AU1", "AU2", "AU9", "AU17", "AU25")
    assert got.table["sample"].tolist() == ["S005/001", "S010/001"]
    np.testing.assert_array_equal(got.target_values(np.arange(2)), [[0, 0, 1, 1, 0], [1, 1, 0, 0, 1]])
    stills = read_dataset("ckplus", tmp_path, {"labels": "units", "unit": "peak", "peaks": 1, "neutral": True})
    assert stills.table["sample"].str[-1].tolist() == ["1", "3", "1", "3"]
    np.testing.assert_array_equal(stills.target_values(np.arange(4))[:, 2], [0, 1, 0, 0])


def test_ckplus_emotions_have_units_as_columns(tmp_path):
    got = read_dataset("ckplus", ckplus(tmp_path))
    assert named(got) == {"S005/001": "disgust", "S011/001": "surprise"}
    assert got.table["AU9"].tolist()[0] == 1
    assert got.table["AU9"].isna().tolist() == [False, True]


def test_ckplus_names_the_wrong_line_of_units_and_reads_emotions_without_it(tmp_path):
    path = ckplus(tmp_path) / "FACS/S005/001/S005_001_00000003_facs.txt"
    write(path, "9 0", "17 8")
    problem = f"{path} codes 17 with 8, expected action units with intensities from 0 to 5"
    with refused(f"ckplus: {problem}"):
        read_dataset("ckplus", tmp_path, {"labels": "units"})
    got = read_dataset("ckplus", tmp_path)
    assert named(got) == {"S005/001": "disgust", "S011/001": "surprise"}
    assert f"sequences whose action units cannot be read: 1; {problem}" in got.notes
    assert got.table["AU1"].isna().all()
    with refused("emotions: 6 is for labels: emotions, not for labels: units"):
        read_dataset("ckplus", tmp_path, {"labels": "units", "emotions": 6})


def test_affectnet_reads_valence_and_arousal(tmp_path):
    numbers = {"0": ("0", "0.5", "-0.25"), "1": ("1", "-2", "-2")}
    for side in ("train_set", "val_set"):
        for n, cells in numbers.items():
            plant(tmp_path, f"{side}/images/{n}.jpg", f"{side}/annotations/{n}_exp.npy")
            for suffix, cell in zip(("exp", "val", "aro"), cells, strict=True):
                np.save(tmp_path / side / "annotations" / f"{n}_{suffix}.npy", np.array(cell))
    got = read_dataset("affectnet", tmp_path, {"affect": True})
    assert got.table[["valence", "arousal"]].fillna(9).to_numpy().tolist() == [[0.5, -0.25], [9, 9]] * 2
    assert "valence" not in read_dataset("affectnet", tmp_path).table
    np.save(tmp_path / "val_set/annotations/1_aro.npy", np.array("1.5"))
    with refused("1_aro.npy is 1.5\n  Expected -1 to 1, or -2 where it is not annotated."):
        read_dataset("affectnet", tmp_path, {"affect": True})
    (tmp_path / "val_set/annotations/1_aro.npy").unlink()
    with refused("1_aro.npy is no file"):
        read_dataset("affectnet", tmp_path, {"affect": True})


def test_affectnet_lists_of_2017_have_valence_and_arousal(tmp_path):
    header = "subDirectory_filePath,face_x,expression,valence,arousal"
    plant(tmp_path, "Manually_Annotated_Images/1/a.jpg")
    for name in ("training", "validation"):
        write(tmp_path / f"{name}.csv", header, "1/a.jpg,3,1,0.75,0.5", "1/a.jpg,3,10,-2,-2")
    write(tmp_path / "validation.csv", header, "1/b.jpg,3,0,-2,0")
    plant(tmp_path, "Manually_Annotated_Images/1/b.jpg")
    got = read_dataset("affectnet", tmp_path, {"affect": True})
    assert got.table[["valence", "arousal"]].fillna(9).to_numpy().tolist() == [[0.75, 0.5], [9, 0]]
    write(tmp_path / "validation.csv", header, "1/b.jpg,3,0,?,0")
    with refused("valence in line 2 of validation.csv is ?"):
        read_dataset("affectnet", tmp_path, {"affect": True})
