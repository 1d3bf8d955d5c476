"""The check of clips: frames of one clip or person on two sides, and alike frames of different clips."""

import numpy as np
import pytest
from test_leakage import manifest_of, pictures

from evenface.config.recipe import Protocol
from evenface.data.leakage import check_leakage, copies_across
from evenface.data.splits import split_manifest


def filmed(people=6, clips=2, frames=4, seed=0):
    """Frames of clips, (N, 1, H, W, 1): those of a clip nearly alike, those of others not at all."""
    count = people * clips
    still = pictures(count, seed=seed).astype(float)
    noise = np.random.default_rng(seed).normal(size=(count, frames, *still.shape[1:])) * 4
    images = np.clip(still[:, None] + noise, 0, 255).astype(np.uint8).reshape(-1, 1, *still.shape[1:])
    clip = np.repeat(np.arange(count), frames)
    subjects = [f"p{c // clips}" for c in clip]
    return manifest_of(len(clip), subjects=subjects, clips=[f"c{c}" for c in clip], labels=clip % 2), images


def torn(manifest, sides, column):
    names, seen = manifest.table[column], (sides.train, sides.validation, sides.test)
    return sum(sum(name in set(names.iloc[rows]) for rows in seen) > 1 for name in names.unique())


def test_a_frame_wise_split_is_found_out_by_clips_people_and_pictures():
    manifest, images = filmed()
    sides = split_manifest(manifest, Protocol(by="frame", test=0.25, validation=0.2))
    found = check_leakage(manifest, images, split=sides)
    assert found.leaks
    assert (len(found.clips), len(found.subjects)) == (torn(manifest, sides, "clip"), torn(manifest, sides, "subject"))
    assert found.clips[["train", "validation", "test"]].to_numpy().sum() <= len(manifest)
    side = np.full(len(manifest), "", dtype=object)
    for name in ("train", "validation", "test"):
        side[getattr(sides, name)] = name
    clip = manifest.table["clip"].to_numpy()
    twins = {i for i in sides.test for j in sides.train if clip[i] == clip[j]}
    assert found.near_across()["train", "test"] == len(twins) > 0
    first, second = found.lines()[:2]
    assert f"{len(found.clips)} clips in more than one set" in first
    assert second == sides.notes[0]
    assert second.startswith("LEAKY: split by frame")


def test_by_people_the_same_frames_leak_nothing():
    manifest, images = filmed()
    found = check_leakage(
        manifest, images, split=split_manifest(manifest, Protocol(by="subject", test=0.3, validation=0.2))
    )
    assert not found.leaks
    assert found.leaky == ""
    assert found.lines()[0].startswith("leakage: none found: ")


def test_windows_of_one_clip_on_two_sides_are_found():
    manifest, frames = filmed()
    images = np.repeat(frames, 3, axis=1)
    found = check_leakage(manifest, images, split=split_manifest(manifest, Protocol(by="frame")))
    assert len(found.clips) > 0
    assert "(by the middle one of the 3 frames of each sample)" in " ".join(found.lines())


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_clips_of_different_names_are_held_against_each_other_by_their_middle_frames(shared):
    clips = np.stack([pictures(10, seed=s) for s in range(3)], axis=1)
    clips[8, shared] = clips[3, shared]
    side = ["train"] * 5 + ["test"] * 5
    found = check_leakage(manifest_of(10, side), clips)
    assert found.across() == {}
    assert found.near_across() == ({("train", "test"): 1} if shared == 1 else {})
    clips[8] = clips[3]
    found = check_leakage(manifest_of(10, side), clips)
    assert found.across() == {("train", "test"): 1}
    assert "1 test sample also in train, pixel by pixel" in found.lines()[0]
    assert copies_across(clips, manifest_of(10)).tolist() == [[3, 8]]


def test_copies_of_clips_are_left_out_of_a_split():
    manifest, frames = filmed(people=12)
    images = np.repeat(frames, 2, axis=1)
    images[-4:] = images[:4]
    protocol = Protocol(test=0.4, validation=0.2, duplicates="drop-train")
    for seed in range(4):
        sides = split_manifest(manifest, protocol.model_copy(update={"seed": seed}), copies_across(images, manifest))
        assert not check_leakage(manifest, images, split=sides).across().get(("train", "test"))
