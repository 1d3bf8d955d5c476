"""Clips of synthetic people: evenly distributed, correctly labelled, readable after writing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.config import Recipe
from evenface.data.datasets import read_dataset
from evenface.data.datasets.synthetic import clip_counts
from evenface.synthesis.actions import AUS
from evenface.synthesis.clips import CLASSES, Clip, compose_clip, make_clips, plan_clips, write_video
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer
from evenface.training.data import read_manifest
from evenface.utils.errors import InputError


def decoded(path):
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_clips_are_distributed_evenly_and_trends_in_pairs():
    clips = plan_clips("trend", {"rising": 25, "falling": 25}, 10, 3)
    names = {label: sorted(c.name.split("/")[1] for c in clips if c.label == label) for label in CLASSES["trend"]}
    assert names["rising"] == names["falling"]
    assert len(names["rising"]) == 25
    clips = plan_clips("course", {"neutral": 20, "phasic": 7}, 10, 3)
    per_person = pd.Series([(c.person, c.label) for c in clips]).value_counts()
    assert set(per_person[[key[1] == "neutral" for key in per_person.index]]) == {2}
    assert len(clips) == 27


@given(st.lists(st.integers(0, 40), min_size=6, max_size=6).filter(any), st.integers(1, 40), st.integers(0, 99))
def test_everybody_shows_several_emotions_as_often_as_anybody(counts, people, seed):
    requested = dict(zip(CLASSES["expression"], counts, strict=True))
    clips = plan_clips("expression", requested, people, seed)
    table = pd.DataFrame([(c.person, c.label) for c in clips], columns=["person", "label"])
    assert table["label"].value_counts().to_dict() == {name: n for name, n in requested.items() if n}
    assert len({c.name for c in clips}) == len(clips)
    each = np.bincount(table["person"], minlength=people)
    assert each.max() - each.min() <= 1
    if max(counts) <= people:
        assert not table.duplicated().any()


def test_identity_gives_each_person_one_label_and_shows_no_pain():
    clips = plan_clips("level", {"0": 50, "2": 50, "4": 20}, 21, 0, identity=True)
    table = pd.DataFrame([(c.person, c.label, c.shown) for c in clips], columns=["person", "label", "shown"])
    assert (table.groupby("person")["label"].nunique() == 1).all()
    assert table.groupby("label")["person"].nunique().to_dict() == {"0": 7, "2": 7, "4": 7}
    assert table["label"].value_counts().to_dict() == {"0": 50, "2": 50, "4": 20}
    assert set(table["shown"]) == {"neutral"}
    other = plan_clips("level", {"0": 50, "2": 50, "4": 20}, 21, 1, identity=True)
    assert {(c.person, c.label) for c in clips} != {(c.person, c.label) for c in other}
    # What a face does depends on the person and the number alone, whatever label was assigned to the person.
    person = make_person(0, 3)
    first, second = (compose_clip(person, Clip(3, label, 5, "neutral"), 8, 3.0) for label in "04")
    assert all((a.units.values == b.units.values).all() for a, b in zip(first.states, second.states, strict=True))
    assert (first.intensity == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "mood"}, "level, course, trend, expression"),
        ({"counts": {"5": 3}}, "unknown class"),
        ({"counts": {"4": -1}}, "negative"),
        ({"counts": {}}, "all counts are 0"),
        ({"people": 0}, "at least 1 person"),
        ({"people": 1, "counts": {"0": 2, "4": 2}, "identity": True}, "as many people"),
        ({"size": 33}, "even"),
        ({"frames": 1}, "frames must be"),
        ({"rate": 0.0}, "rate must be"),
        ({"seed": -1}, "seed"),
    ],
)
def test_invalid_settings_are_errors(tmp_path, settings, message):
    usual = {"label": "level", "counts": {"0": 1, "4": 1}, "people": 2, "size": 32}
    with pytest.raises(InputError) as refused:
        make_clips(tmp_path, **{**usual, **settings})
    assert message in f"{refused.value}"
    assert not list(tmp_path.iterdir())


def test_shares_follow_factor_and_papers():
    assert clip_counts("level", 374, "p1") == {"0": 134, "1": 105, "2": 70, "3": 40, "4": 25}
    assert clip_counts("course", 2424, "p3") == {"neutral": 1320, "tonic": 725, "phasic": 379}
    counts = list(clip_counts("level", 400, 5.0).values())
    assert counts == sorted(counts, reverse=True)
    assert counts[0] / counts[-1] == pytest.approx(5, rel=0.05)
    assert abs(sum(counts) - 400) <= 3
    official = {"surprise": 83, "happy": 69, "disgust": 59, "angry": 45, "sad": 28, "fear": 25}
    assert clip_counts("expression", 309, "ck+") == official
    assert clip_counts("expression", 3600, "ck+") == {name: round(3600 * n / 309) for name, n in official.items()}
    assert clip_counts("trend", 240, 1.0) == {"rising": 120, "falling": 120}
    for wrong in (("trend", 240, "p1"), ("level", 309, "ck+"), ("level", 3, 1.0), ("level", 300, 0.5)):
        with pytest.raises(InputError):
            clip_counts(*wrong)


def test_each_frame_of_a_video_is_coded_independently(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 4, 4, 1)).repeat(8, 1).repeat(8, 2).repeat(3, 3).astype(np.uint8)
    write_video(tmp_path / "on.mp4", grey, 2.5)
    write_video(tmp_path / "back.mp4", grey[::-1], 2.5)
    seen = decoded(tmp_path / "on.mp4")
    assert np.abs(seen.astype(int) - grey).mean() < 2
    assert (seen == decoded(tmp_path / "back.mp4")[::-1]).all()


OPTIONS = {"people": 2, "frames": 4, "rate": 2.0, "size": 32}


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
        animation = compose_clip(person, clip, 4, 2.0)
        images = Renderer(32).render(person, animation.states, animation.scene).astype(int)
        assert np.abs(decoded(tmp_path / table["path"][0]) - images).mean() < 6

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
        manifest = read_dataset("synthetic-clips", tmp_path, options)
        assert (manifest.content, manifest.ordered, manifest.classes) == ("clips", True, ("1", "4"))
        assert manifest.counts().tolist() == [1, 2]
        assert manifest.has_subjects
        assert manifest.table["clip"].is_unique
        assert "not real faces" in manifest.notes[0]
        assert all((manifest.root / path).is_file() for path in manifest.table["path"])
        assert manifest.hash == read_dataset("synthetic-clips", tmp_path, options).hash
        assert read_dataset("synthetic-clips", tmp_path, {**options, "seed": 1}).root != manifest.root
        with pytest.raises(InputError, match="two classes"):
            read_dataset("synthetic-clips", tmp_path, {**OPTIONS, "counts": {"4": 1}})

    def test_a_recipe_draws_at_its_own_size_in_the_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("EVENFACE_CACHE", str(tmp_path))
        data = {"source": "synthetic-clips", "size": 34, "label": "level", "identity": True, "people": 2, "frames": 2}
        recipe = Recipe.model_validate({"name": "small", "data": data | {"counts": {"0": 1, "3": 1}}})
        manifest = read_manifest(recipe)
        assert manifest.root.parent == tmp_path / "synthetic-clips"
        assert decoded(manifest.root / manifest.table["path"][0]).shape == (2, 34, 34, 3)
        assert any("at random" in note for note in manifest.notes)


def test_frames_are_samples_with_the_units_of_that_frame(tmp_path):
    settings = {"people": 4, "total": 5, "frames": 8, "size": 64}
    clips = read_dataset("synthetic-clips", tmp_path, settings)
    frames = read_dataset("synthetic-clips", tmp_path, {**settings, "unit": "frame", "every": 3})
    assert len(frames) == 3 * len(clips)
    truth = pd.read_parquet(next(tmp_path.rglob("frames.parquet"))).set_index(["sample", "frame"])
    for _, row in frames.table.iterrows():
        own = truth.loc[(row["clip"], row["start"])]
        assert row["end"] == row["start"] + 1
        assert row["pspi"] == pytest.approx(own["pspi"])
        assert row["AU4"] == pytest.approx(5 * own["au_4"])
        assert row["AU43"] == (own["au_43"] >= 0.5)
    same = frames.table.drop_duplicates("clip").set_index("clip")["subject"]
    assert same.to_dict() == clips.table.set_index("sample")["subject"].to_dict()
    with pytest.raises(InputError, match="every is for unit: frame"):
        read_dataset("synthetic-clips", tmp_path, {**settings, "every": 3})
