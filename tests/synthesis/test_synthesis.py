"""Synthetic people: deterministic, with recognisable expressions; images and folders of images."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tasks import kill_itself

from evenface.synthesis import images
from evenface.synthesis.actions import AUS, LABELS, PROTOTYPES, action_units
from evenface.synthesis.geometry import Pose, State, build_head, rotate
from evenface.synthesis.head import load_head
from evenface.synthesis.images import FacePlan, compose_face, draw_all, draw_faces, make_faces, plan_faces
from evenface.synthesis.people import draw_expression, make_person
from evenface.synthesis.renderer import Renderer, Scene
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")


def test_people_are_the_same_whenever_drawn_and_differ_from_each_other():
    first = [make_person(5, i) for i in range(40)]
    assert first == [make_person(5, i) for i in reversed(range(40))][::-1]
    assert len({(p.skin, p.shape, p.gains) for p in first}) == 40
    assert first[0] != make_person(6, 0)
    assert {p.sex for p in first} == {"female", "male"}
    assert all(18 <= p.age <= 80 and abs(sum(p.ancestry) - 1) < 1e-3 for p in first)


@pytest.mark.parametrize("label", LABELS)
def test_an_expression_raises_its_own_units(label):
    rng = np.random.default_rng(0)
    shown = np.stack([draw_expression(make_person(0, i % 30), label, rng).values for i in range(300)])
    assert shown.min() >= 0
    assert shown.max() <= 1
    usual = {au for au in AUS if np.mean([variant.get(au, 0) for variant in PROTOTYPES[label]]) >= 0.4}
    mean = dict(zip(AUS, shown.mean((0, 2)), strict=True))
    assert all(mean[au] > 0.2 for au in usual)
    assert all(mean[au] < 0.25 for au in AUS if all(au not in variant for variant in PROTOTYPES[label]))
    assert shown.std(0).max() > 0.1 or label == "neutral"


def test_expressions_are_recognised_by_their_units_across_people():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    rows, labels, people = [], [], []
    for person in range(40):
        for label in LABELS * 4:
            rows.append(draw_expression(make_person(2, person), label, rng).values.mean(1))
            labels.append(label)
            people.append(person)
    rows, labels, test = np.array(rows), np.array(labels), np.array(people) % 4 == 0
    model = LogisticRegression(max_iter=2000).fit(rows[~test], labels[~test])
    assert 0.75 < model.score(rows[test], labels[test]) < 1.0


def test_pain_score_follows_its_formula():
    units = action_units({4: 0.4, 6: 0.2, 7: 0.6, 9: 0.8, 10: 0.2, 43: 1.0})
    assert units.pspi() == pytest.approx(5 * (0.4 + 0.6 + 0.8) + 1)
    assert action_units({}).pspi() == 0
    assert action_units({4: 1, 7: 1, 10: 1, 43: 1}).pspi() == pytest.approx(16)


@pytest.mark.parametrize("strengths", [{3: 0.5}, {4: 1.5}, {4: -0.1}])
def test_impossible_units_are_refused(strengths):
    with pytest.raises(ValueError, match="action unit"):
        action_units(strengths)


def test_unknown_expressions_are_refused():
    with pytest.raises(ValueError, match="bored"):
        draw_expression(make_person(0, 0), "bored", np.random.default_rng(0))


@given(st.dictionaries(st.sampled_from(LABELS), st.integers(0, 60), min_size=1), st.integers(1, 25), st.integers(0, 99))
def test_each_class_has_its_count_distributed_evenly(counts, people, seed):
    if not sum(counts.values()):
        with pytest.raises(InputError):
            plan_faces(counts, people, seed)
        return
    samples = plan_faces(counts, people, seed)
    assert len(set(samples)) == len(samples)
    for label in LABELS:
        own = np.bincount([s.person for s in samples if s.label == label], minlength=people)
        assert own.sum() == counts.get(label, 0)
        assert own.max() - own.min() <= 1


def test_rare_classes_have_different_people():
    samples = plan_faces({"happy": 40, "disgust": 5, "fear": 5}, 20, 0)
    disgust = {s.person for s in samples if s.label == "disgust"}
    assert len(disgust) == 5
    assert disgust != {s.person for s in samples if s.label == "fear"}


def test_counts_can_be_given_person_by_person():
    samples = plan_faces([{"sad": 2}, {"happy": 1}], 2, 0)
    assert samples == [FacePlan(0, "sad", 0), FacePlan(0, "sad", 1), FacePlan(1, "happy", 0)]


@pytest.mark.parametrize(
    ("counts", "people"), [({"bored": 3}, 2), ({"sad": -1}, 2), ({}, 2), ({"sad": 1}, 0), ([{"sad": 1}], 2)]
)
def test_invalid_counts_are_errors(counts, people):
    with pytest.raises(InputError, match="synthetic"):
        plan_faces(counts, people, 0)


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).mean(-1)


class TestImages:
    def test_a_still_is_a_clip_of_one_frame(self):
        person, renderer = make_person(0, 2), Renderer(64)
        states = [State(action_units({12: x})) for x in (0.0, 0.5, 1.0)]
        clip = renderer.render(person, states)
        assert clip.shape == (3, 64, 64, 3)
        assert clip.dtype == np.uint8
        np.testing.assert_array_equal(clip[1], renderer.render(person, states[1:2])[0])
        assert difference(clip[0], clip[2]).mean() > difference(clip[0], clip[1]).mean() > 0.3

    def test_an_image_does_not_depend_on_earlier_ones(self):
        samples = [FacePlan(i, label, 0) for i in range(5) for label in ("fear", "happy")]

        def draw(sample):
            person = make_person(3, sample.person)
            state, scene = compose_face(person, sample)
            return Renderer(48).render(person, [state], scene)[0]

        before = {s: draw(s) for s in samples}
        assert all((draw(s) == before[s]).all() for s in reversed(samples))
        assert difference(before[samples[0]], before[samples[1]]).mean() > 3

    def test_each_frame_has_its_own_grain(self):
        clip = Renderer(32).render(make_person(0, 1), [State(), State()], Scene(grain=0.05))
        assert (clip[0] != clip[1]).mean() > 0.5

    @pytest.mark.parametrize(
        ("unit", "rows"), [(43, (0.3, 0.6)), (1, (0.1, 0.55)), (26, (0.55, 1.0)), (12, (0.5, 0.95))]
    )
    def test_units_move_their_own_part_of_the_face(self, unit, rows):
        renderer, person = Renderer(96), make_person(0, 4)
        neutral, moved = renderer.render(person, [State(), State(action_units({unit: 1.0}))])
        change = difference(neutral, moved).sum(1)
        top, bottom = (int(96 * r) for r in rows)
        assert change[top:bottom].sum() > 0.7 * change.sum()

    def test_positive_yaw_turns_to_the_right_and_positive_pitch_up(self):
        geometry = build_head(make_person(0, 4))
        nose = int(np.argmax(geometry.neutral[:, 2] * (load_head().parts_of_vertices == 0)))
        turned = rotate(geometry, geometry.neutral, Pose(yaw=30))[nose] - geometry.neutral[nose]
        lifted = rotate(geometry, geometry.neutral, Pose(pitch=15))[nose] - geometry.neutral[nose]
        leaned = rotate(geometry, geometry.neutral, Pose(roll=10))[nose] - geometry.neutral[nose]
        assert turned[0] > 0.2
        assert lifted[1] > 0.1
        assert leaned[0] > 0.05

    def test_the_same_face_at_two_sizes_looks_the_same(self):
        person = make_person(0, 6)
        small = Renderer(56).render(person, [State()])[0].astype(float)
        large = Renderer(112).render(person, [State()])[0].astype(float)
        assert np.abs(large.reshape(56, 2, 56, 2, 3).mean((1, 3)) - small).mean() < 3

    @pytest.mark.parametrize(("size", "samples"), [(8, 2), (4096, 2), (64, 0)])
    def test_sizes_out_of_range_are_refused(self, size, samples):
        with pytest.raises(ValueError, match="must be"):
            Renderer(size, samples)

    @pytest.mark.slow
    def test_faces_and_their_landmarks_are_detected(self):
        from evenface.preprocessing.detect_align import Square
        from evenface.preprocessing.face_mesh import find_points

        renderer, detected = Renderer(112), []
        for index in range(42):
            person = make_person(11, index)
            state, scene = compose_face(person, FacePlan(index, LABELS[index % 7], 0))
            image = renderer.render(person, [state], scene)[0]
            detected.append(find_points(Image.fromarray(image), Square((56, 56), 112, 0.0)) is not None)
        assert np.mean(detected) >= 0.95


COUNTS = {"happy": 5, "sad": 3, "disgust": 1}


class TestFolders:
    def test_faces_and_truth_are_written(self, tmp_path):
        table = make_faces(tmp_path, counts=COUNTS, people=3, size=32)
        assert table["label"].value_counts().to_dict() == COUNTS
        assert all((tmp_path / path).exists() for path in table["path"])
        assert Image.open(tmp_path / table["path"][0]).size == (32, 32)
        pd.testing.assert_frame_equal(table, pd.read_parquet(tmp_path / "truth.parquet"))
        person = make_person(0, int(table["subject"][0][1:]))
        state, _ = compose_face(person, FacePlan(person.index, table["label"][0], 0))
        assert table["au_12"][0] == state.units.intensity(12)
        assert table["pose_yaw"][0] == state.pose.yaw
        assert (table["sex"][0], table["age"][0]) == (person.sex, person.age)
        assert not list(tmp_path.rglob(".*"))

    def test_an_interrupted_run_resumes_with_the_same_images(self, tmp_path, monkeypatch):
        complete = make_faces(tmp_path / "complete", counts=COUNTS, people=3, size=32)
        render, drawn = Renderer.render, []

        def stops(self, person, states, scene=None):
            if len(drawn) == 4:
                raise KeyboardInterrupt
            drawn.append(person)
            return render(self, person, states, scene)

        monkeypatch.setattr(Renderer, "render", stops)
        with pytest.raises(KeyboardInterrupt):
            make_faces(tmp_path / "parts", counts=COUNTS, people=3, size=32)
        assert len(list((tmp_path / "parts").rglob("*.png"))) == 4
        assert not (tmp_path / "parts/truth.parquet").exists()
        monkeypatch.setattr(Renderer, "render", render)
        again = make_faces(tmp_path / "parts", counts=COUNTS, people=3, size=32)
        pd.testing.assert_frame_equal(complete, again)
        for path in complete["path"]:
            assert (tmp_path / "complete" / path).read_bytes() == (tmp_path / "parts" / path).read_bytes()

    def test_a_complete_folder_is_not_drawn_again(self, tmp_path, monkeypatch):
        first = make_faces(tmp_path, counts=COUNTS, people=3, size=32)
        monkeypatch.setattr(images, "_write", None)
        pd.testing.assert_frame_equal(first, make_faces(tmp_path, counts=COUNTS, people=3, size=32))

    @pytest.mark.parametrize(("counts", "people"), [(COUNTS, 3), (9, 2), ([{"sad": 2}, {"happy": 1}], 2)])
    def test_faces_in_memory_are_those_of_a_folder(self, tmp_path, counts, people):
        faces = draw_faces(counts, people=people, size=32, seed=4)
        spread = {"angry": 1, "disgust": 1, "fear": 1, "happy": 1, "sad": 1, "surprise": 2, "neutral": 2}
        table = make_faces(tmp_path, counts=spread if counts == 9 else counts, people=people, size=32, seed=4)
        assert [LABELS[label] for label in faces.labels] == table["label"].tolist()
        assert [f"p{person:04d}" for person in faces.people] == table["subject"].tolist()
        np.testing.assert_array_equal(faces.poses, table[["pose_yaw", "pose_pitch", "pose_roll"]])
        for image, path in zip(faces.images, table["path"], strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(tmp_path / path)))

    def test_the_number_of_processes_changes_nothing(self, tmp_path):
        alone = make_faces(tmp_path / "1", counts=COUNTS, people=3, size=32)
        make_faces(tmp_path / "2", counts=COUNTS, people=3, size=32, workers=2)
        for path in alone["path"]:
            assert (tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes()

    def test_a_killed_process_is_an_error(self):
        with pytest.raises(InputError, match=r"not all images were generated.*memory") as error:
            list(draw_all(kill_itself, [SimpleNamespace(person=number) for number in range(3)], 2))
        assert "finished images are kept" in error.value.hint

    def test_other_settings_in_the_same_folder_are_refused(self, tmp_path):
        make_faces(tmp_path, counts={"sad": 1}, people=1, size=32)
        with pytest.raises(InputError, match="size"):
            make_faces(tmp_path, counts={"sad": 1}, people=1, size=48)

    def test_a_folder_of_other_images_is_refused(self, tmp_path):
        (tmp_path / "happy").mkdir()
        Image.new("L", (4, 4)).save(tmp_path / "happy/own.png")
        with pytest.raises(InputError, match="did not generate"):
            make_faces(tmp_path, counts={"sad": 1}, people=1, size=32)

    @pytest.mark.parametrize(("size", "seed", "look"), [(4, 0, "plain"), (32, -1, "plain"), (32, 0, "wild")])
    def test_settings_out_of_range_are_refused(self, tmp_path, size, seed, look):
        with pytest.raises(InputError):
            make_faces(tmp_path, counts={"sad": 1}, people=1, size=size, seed=seed, look=look)
        assert not list(tmp_path.iterdir())
        with pytest.raises(InputError):
            draw_faces(7, people=1, size=size, seed=seed, look=look)

    def test_varied_faces_in_memory_are_those_of_a_folder(self, tmp_path):
        faces = draw_faces({"happy": 2, "fear": 2}, people=2, size=32, seed=4, look="varied")
        table = make_faces(tmp_path, counts={"happy": 2, "fear": 2}, people=2, size=32, seed=4, look="varied")
        np.testing.assert_array_equal(faces.poses[:, 0], table["pose_yaw"])
        np.testing.assert_allclose(faces.units, table[[f"au_{unit}" for unit in AUS]])
        for image, path in zip(faces.images, table["path"], strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(tmp_path / path)))
        with pytest.raises(InputError, match="look"):
            make_faces(tmp_path, counts={"happy": 2, "fear": 2}, people=2, size=32, seed=4)


def test_settings_are_readable(tmp_path):
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(InputError, match="cannot read"):
        make_faces(tmp_path, counts={"sad": 1}, people=1, size=32)
    (tmp_path / "settings.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match="other settings"):
        make_faces(tmp_path, counts={"sad": 1}, people=1, size=32)
