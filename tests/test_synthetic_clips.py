import importlib.util

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.assembly import read_manifest
from evenface.data.sources import read
from evenface.data.sources.synthetic_clips import share
from evenface.errors import InputError
from evenface.recipes import Recipe
from evenface.synthesis.actions import AUS, PROTOTYPES
from evenface.synthesis.clips import make_clips, write_video
from evenface.synthesis.courses import DISTRACTORS, Course, Stray, draw_course, draw_stray, pain_manner, show
from evenface.synthesis.mesh import load_head
from evenface.synthesis.people import make_person
from evenface.synthesis.render import Renderer
from evenface.synthesis.takes import CLASSES, Clip, compose_clip, spread_clips

needs_anny = pytest.mark.skipif(importlib.util.find_spec("anny") is None, reason="anny is not installed")
PLACES = np.linspace(0, 1, 201)
CALM = Stray("", 0.0, 0.1, 0.0, 1.0, (), (0.0,) * len(AUS))


def decoded(path):
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def take(label, person=0, number=0, frames=16):
    return compose_clip(make_person(0, person), Clip(person, label, number, label), frames, 3.0)


def length_above_half(course):
    values = course.intensity(PLACES)
    return np.mean(values > values.max() / 2)


@given(st.integers(0, 10_000), st.sampled_from(["phasic", "tonic", "stimulus", "rising"]), st.floats(0.05, 1))
def test_pain_rises_to_its_peak_and_then_only_falls(seed, kind, peak):
    values = draw_course(kind, peak, np.random.default_rng(seed)).intensity(PLACES)
    top = int(values.argmax())
    assert values[0] <= 0.02 * peak
    assert values.max() == pytest.approx(peak, rel=1e-3)
    assert (np.diff(values[: top + 1]) >= -1e-12).all()
    assert (np.diff(values[top:]) <= 1e-12).all()


@given(st.integers(0, 10_000))
def test_phasic_pain_is_fast_and_short_where_tonic_is_slow_and_lasting(seed):
    rng = np.random.default_rng(seed)
    phasic, tonic = (draw_course(kind, 1.0, rng) for kind in ("phasic", "tonic"))
    assert phasic.rise < tonic.rise / 2
    assert length_above_half(phasic) < 0.3 < 0.4 < length_above_half(tonic)
    assert phasic.intensity(PLACES)[-1] < 0.01
    assert draw_course("neutral", 1.0, rng).intensity(PLACES).max() == 0


def test_a_course_is_half_risen_halfway_through_its_rise():
    course = Course(peak=0.8, start=0.2, rise=0.2, hold=0.3, fall=0.1)
    np.testing.assert_allclose(course.intensity(np.array([0.2, 0.3, 0.4, 0.6, 0.75, 0.8])), [0, 0.4, 0.8, 0.8, 0.4, 0])


def test_unknown_courses_are_refused():
    with pytest.raises(ValueError, match="phasic"):
        draw_course("chronic", 1.0, np.random.default_rng(0))


def test_without_anything_else_the_score_grows_with_the_intensity():
    for index in range(20):
        person = make_person(0, index)
        scores = [units.pspi() for units in show(person, pain_manner(person), np.linspace(0, 1, 9), CALM, 3.0)]
        assert (np.diff(scores) >= -1e-12).all()
        full = dict(zip(AUS, np.array(pain_manner(person).units) * pain_manner(person).reach, strict=True))
        rest = dict(zip(AUS, np.array(person.resting) * 0.7, strict=True))
        most = {unit: min(max(full[unit], rest[unit]), 1) for unit in AUS}
        naive = 5 * (most[4] + max(most[6], most[7]) + max(most[9], most[10])) + most[43]
        assert scores[-1] == pytest.approx(naive)


def test_people_differ_in_where_and_how_strongly_they_show_pain():
    people = [make_person(0, index) for index in range(200)]
    manners = [pain_manner(person) for person in people]
    assert manners == [pain_manner(make_person(0, index)) for index in range(200)]
    units = np.array([manner.units for manner in manners])
    of = {unit: units[:, AUS.index(unit)] for unit in AUS}
    facets = np.stack([of[4], np.maximum(of[6], of[7]), np.maximum(of[9], of[10])])
    assert set(facets.argmax(0)) == {0, 1, 2}
    assert min(facets[row].max() - facets[row].min() for row in range(3)) > 0.4
    assert facets.sum(0).min() > 1.7
    assert facets.sum(0).max() <= 2.1 + 1e-9
    reach = np.array([manner.reach for manner in manners])
    assert 0.02 < np.mean(reach < 0.5) < 0.25
    assert reach.min() >= 0.2
    assert reach.max() <= 1.2


def test_levels_raise_the_pain_and_distractors_come_at_any_of_them():
    takes = {level: [take(level, person) for person in range(60)] for level in CLASSES["level"]}
    peaks = {level: np.array([one.intensity.max() for one in own]) for level, own in takes.items()}
    assert (peaks["0"] == 0).all()
    for level in "1234":
        assert peaks[level].mean() == pytest.approx(int(level) / 4, abs=0.04)
    for own in takes.values():
        assert {one.stray.kind for one in own} == {"", *DISTRACTORS}
    score = {level: np.mean([max(s.units.pspi() for s in one.states) for one in own]) for level, own in takes.items()}
    assert sorted(score, key=score.get) == list("01234")


@given(st.integers(0, 10_000))
def test_what_comes_beside_pain_stays_within_the_face_and_the_clip(seed):
    person = make_person(0, seed % 7)
    stray = draw_stray(person, 5.0, np.random.default_rng(seed))
    assert all(0 <= blink <= 5 for blink in stray.blinks)
    for units in show(person, pain_manner(person), np.ones(20), stray, 5.0):
        assert units.values.min() >= 0
        assert units.values.max() <= 1


def test_a_blink_shuts_the_eyes_at_its_time_only():
    blinking = Stray("", 0.0, 0.1, 0.0, 1.0, (2.05,), (0.0,) * len(AUS))
    person = make_person(0, 0)
    shut = np.array([units.intensity(43) for units in show(person, pain_manner(person), np.zeros(40), blinking, 4.0)])
    rest = person.resting[AUS.index(43)] * 0.7
    assert shut[20] == 1.0
    assert shut[[*range(17), *range(24, 40)]] == pytest.approx(rest)


def test_heads_move_slowly():
    yaws = np.array([[state.pose.yaw for state in take("4", person).states] for person in range(40)])
    assert 0.5 < np.abs(np.diff(yaws, axis=1)).mean() < 2.5
    assert np.ptp(yaws, axis=1).mean() > 2


def test_clips_are_shared_out_evenly_and_trends_in_pairs():
    clips = spread_clips("trend", {"rising": 25, "falling": 25}, 10, 3)
    names = {label: sorted(c.name.split("/")[1] for c in clips if c.label == label) for label in CLASSES["trend"]}
    assert names["rising"] == names["falling"]
    assert len(names["rising"]) == 25
    clips = spread_clips("course", {"neutral": 20, "phasic": 7}, 10, 3)
    per_person = pd.Series([(c.person, c.label) for c in clips]).value_counts()
    assert set(per_person[[key[1] == "neutral" for key in per_person.index]]) == {2}
    assert len(clips) == 27


@given(st.lists(st.integers(0, 40), min_size=6, max_size=6).filter(any), st.integers(1, 40), st.integers(0, 99))
def test_everybody_shows_several_emotions_as_often_as_anybody(counts, people, seed):
    wanted = dict(zip(CLASSES["expression"], counts, strict=True))
    clips = spread_clips("expression", wanted, people, seed)
    table = pd.DataFrame([(c.person, c.label) for c in clips], columns=["person", "label"])
    assert table["label"].value_counts().to_dict() == {name: n for name, n in wanted.items() if n}
    assert len({c.name for c in clips}) == len(clips)
    each = np.bincount(table["person"], minlength=people)
    assert each.max() - each.min() <= 1
    if max(counts) <= people:
        assert not table.duplicated().any()


def test_an_expression_rises_from_the_calm_face_to_its_peak_and_stays():
    for label in CLASSES["expression"]:
        takes = [take(label, person, frames=10) for person in range(30)]
        shown = np.array([one.intensity for one in takes])
        assert (np.diff(shown, axis=1) >= 0).all()
        assert (shown[:, 0] < 0.03).all()
        np.testing.assert_allclose(shown[:, -1], [one.course.peak for one in takes], rtol=1e-9)
        assert shown[:, -1].min() > 0.6
        assert {one.stray.kind for one in takes} == {"", *DISTRACTORS}
        assert len({one.manner.reach for one in takes}) > 20


def test_at_its_peak_an_expression_is_told_by_its_units():
    # The distance to the nearest prototype tells nearly all of them, distractors or not: the label is on the face.
    right = []
    for label in CLASSES["expression"]:
        for person in range(30):
            units = take(label, person).states[-1].units.values.mean(1)
            near = {
                name: min(
                    np.linalg.norm(units - [variant.get(unit, 0) for unit in AUS]) for variant in PROTOTYPES[name]
                )
                for name in CLASSES["expression"]
            }
            right.append(min(near, key=near.get) == label)
    assert np.mean(right) > 0.9


def test_identity_gives_each_person_one_label_and_shows_no_pain():
    clips = spread_clips("level", {"0": 50, "2": 50, "4": 20}, 21, 0, identity=True)
    table = pd.DataFrame([(c.person, c.label, c.shown) for c in clips], columns=["person", "label", "shown"])
    assert (table.groupby("person")["label"].nunique() == 1).all()
    assert table.groupby("label")["person"].nunique().to_dict() == {"0": 7, "2": 7, "4": 7}
    assert table["label"].value_counts().to_dict() == {"0": 50, "2": 50, "4": 20}
    assert set(table["shown"]) == {"neutral"}
    other = spread_clips("level", {"0": 50, "2": 50, "4": 20}, 21, 1, identity=True)
    assert {(c.person, c.label) for c in clips} != {(c.person, c.label) for c in other}
    # What a face does depends on the person and the number alone, whatever label the person was dealt.
    person = make_person(0, 3)
    one, another = (compose_clip(person, Clip(3, label, 5, "neutral"), 8, 3.0) for label in "04")
    assert all((a.units.values == b.units.values).all() for a, b in zip(one.states, another.states, strict=True))
    assert (one.intensity == 0).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label": "mood"}, "level, course, trend, expression"),
        ({"counts": {"5": 3}}, "unknown class"),
        ({"counts": {"4": -1}}, "negative"),
        ({"counts": {}}, "all counts are 0"),
        ({"people": 0}, "at least 1 person"),
        ({"people": 1, "counts": {"0": 2, "4": 2}, "identity": True}, "more people"),
        ({"size": 33}, "even"),
        ({"frames": 1}, "frames must be"),
        ({"rate": 0.0}, "rate must be"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_be_are_explained(tmp_path, settings, said):
    usual = {"label": "level", "counts": {"0": 1, "4": 1}, "people": 2, "size": 32}
    with pytest.raises(InputError) as refused:
        make_clips(tmp_path, **{**usual, **settings})
    assert said in f"{refused.value}"
    assert not list(tmp_path.iterdir())


def test_shares_follow_factor_and_papers():
    assert share("level", 374, "p1") == {"0": 134, "1": 105, "2": 70, "3": 40, "4": 25}
    assert share("course", 2424, "p3") == {"neutral": 1320, "tonic": 725, "phasic": 379}
    counts = list(share("level", 400, 5.0).values())
    assert counts == sorted(counts, reverse=True)
    assert counts[0] / counts[-1] == pytest.approx(5, rel=0.05)
    assert abs(sum(counts) - 400) <= 3
    official = {"surprise": 83, "happy": 69, "disgust": 59, "angry": 45, "sad": 28, "fear": 25}
    assert share("expression", 309, "ck+") == official
    assert share("expression", 3600, "ck+") == {name: round(3600 * n / 309) for name, n in official.items()}
    assert share("trend", 240, 1.0) == {"rising": 120, "falling": 120}
    for wrong in (("trend", 240, "p1"), ("level", 309, "ck+"), ("level", 3, 1.0), ("level", 300, 0.5)):
        with pytest.raises(InputError):
            share(*wrong)


def test_a_video_keeps_its_pictures_each_for_itself(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 4, 4, 1)).repeat(8, 1).repeat(8, 2).repeat(3, 3).astype(np.uint8)
    write_video(tmp_path / "on.mp4", grey, 2.5)
    write_video(tmp_path / "back.mp4", grey[::-1], 2.5)
    seen = decoded(tmp_path / "on.mp4")
    assert np.abs(seen.astype(int) - grey).mean() < 2
    assert (seen == decoded(tmp_path / "back.mp4")[::-1]).all()


OPTIONS = {"people": 2, "frames": 4, "rate": 2.0, "size": 32}


@needs_anny
class TestFolders:
    def test_clips_and_their_truth_are_written(self, tmp_path):
        table = make_clips(tmp_path, label="level", counts={"0": 1, "4": 2}, **OPTIONS)
        assert table["label"].value_counts().to_dict() == {"4": 2, "0": 1}
        pd.testing.assert_frame_equal(table, pd.read_parquet(tmp_path / "truth.parquet"))
        frames = pd.read_parquet(tmp_path / "frames.parquet")
        assert frames.groupby("sample")["frame"].apply(list).to_dict() == {
            name: [0, 1, 2, 3] for name in table["sample"]
        }
        assert frames["time"][:4].tolist() == [0, 0.5, 1, 1.5]
        au = {unit: frames[f"au_{unit}"].to_numpy() for unit in AUS}
        naive = 5 * au[4] + 5 * np.maximum(au[6], au[7]) + 5 * np.maximum(au[9], au[10]) + au[43]
        np.testing.assert_allclose(frames["pspi"], naive)
        assert (frames.groupby("sample")["pspi"].max()[table["sample"]].to_numpy() == table["pspi"]).all()
        for path in table["path"]:
            assert decoded(tmp_path / path).shape == (4, 32, 32, 3)
        assert not list(tmp_path.rglob(".*"))
        clip = Clip(int(table["subject"][0][1:]), table["label"][0], 0, table["label"][0])
        person = make_person(0, clip.person)
        one = compose_clip(person, clip, 4, 2.0)
        pictures = Renderer(32).render(person, one.states, one.scene).astype(int)
        assert np.abs(decoded(tmp_path / table["path"][0]) - pictures).mean() < 6

    def test_falling_is_rising_backwards_to_the_last_bit(self, tmp_path):
        table = make_clips(tmp_path, label="trend", counts={"rising": 2, "falling": 2}, **OPTIONS)
        frames = pd.read_parquet(tmp_path / "frames.parquet").set_index("sample")
        for name in table["sample"][table["label"] == "rising"]:
            other = name.replace("rising", "falling")
            on, back = decoded(tmp_path / f"{name}.mp4"), decoded(tmp_path / f"{other}.mp4")
            assert (on == back[::-1]).all()
            assert not (on == back).all()
            pain = frames.loc[name, "intensity"].to_numpy()
            assert (np.diff(pain) >= 0).all()
            assert pain[-1] > pain[0] + 0.5
            assert (frames.loc[other, "intensity"].to_numpy() == pain[::-1]).all()
            assert (frames.loc[other, "pspi"].to_numpy() == frames.loc[name, "pspi"].to_numpy()[::-1]).all()

    def test_a_stopped_run_is_finished_with_the_same_clips(self, tmp_path, monkeypatch):
        settings = {"label": "course", "counts": {"neutral": 2, "phasic": 2, "tonic": 1}, **OPTIONS, "people": 3}
        whole = make_clips(tmp_path / "whole", **settings)
        render, drawn = Renderer.render, []

        def stops(self, person, states, scene=None):
            if len(drawn) == 2:
                raise KeyboardInterrupt
            drawn.append(person)
            return render(self, person, states, scene)

        monkeypatch.setattr(Renderer, "render", stops)
        with pytest.raises(KeyboardInterrupt):
            make_clips(tmp_path / "parts", **settings)
        kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*.mp4")}
        assert len(kept) == 2
        assert not (tmp_path / "parts/truth.parquet").exists()
        monkeypatch.setattr(Renderer, "render", render)
        again = make_clips(tmp_path / "parts", **settings, workers=2)
        pd.testing.assert_frame_equal(whole, again)
        assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
        for path in whole["path"]:
            assert (decoded(tmp_path / "whole" / path) == decoded(tmp_path / "parts" / path)).all()

    def test_other_settings_in_the_same_folder_are_refused(self, tmp_path):
        make_clips(tmp_path, label="level", counts={"0": 1}, **OPTIONS)
        with pytest.raises(InputError, match="frames"):
            make_clips(tmp_path, label="level", counts={"0": 1}, **{**OPTIONS, "frames": 5})

    def test_the_source_gives_a_manifest_of_clips(self, tmp_path):
        options = {**OPTIONS, "label": "level", "counts": {"1": 1, "4": 2}}
        manifest = read("synthetic-clips", tmp_path, options)
        assert (manifest.content, manifest.ordered, manifest.classes) == ("clips", True, ("1", "4"))
        assert manifest.counts().tolist() == [1, 2]
        assert manifest.has_subjects
        assert manifest.table["clip"].is_unique
        assert "not real faces" in manifest.notes[0]
        assert all((manifest.root / path).is_file() for path in manifest.table["path"])
        assert manifest.hash == read("synthetic-clips", tmp_path, options).hash
        assert read("synthetic-clips", tmp_path, {**options, "seed": 1}).root != manifest.root
        with pytest.raises(InputError, match="two classes"):
            read("synthetic-clips", tmp_path, {**OPTIONS, "counts": {"4": 1}})

    def test_a_recipe_draws_at_its_own_size_in_the_cache(self, tmp_path, monkeypatch):
        load_head()  # stays in memory when the cache moves
        monkeypatch.setenv("EVENFACE_CACHE", str(tmp_path))
        data = {"source": "synthetic-clips", "size": 34, "label": "level", "identity": True, "people": 2, "frames": 2}
        recipe = Recipe.model_validate({"name": "small", "data": data | {"counts": {"0": 1, "3": 1}}})
        manifest = read_manifest(recipe)
        assert manifest.root.parent == tmp_path / "synthetic-clips"
        assert decoded(manifest.root / manifest.table["path"][0]).shape == (2, 34, 34, 3)
        assert any("by chance" in note for note in manifest.notes)
