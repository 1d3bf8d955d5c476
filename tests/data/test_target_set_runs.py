"""Runs on trees of UNBC-McMaster and DISFA: what is stored as the truth is what the label files state."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from evenface import api


def unbc(root):
    """Four people with two sequences of ten frames; the brighter part of an image grows with its PSPI."""
    random = np.random.default_rng(0)
    truth = {}
    for person in range(4):
        for sequence in range(2):
            clip = f"{person:03}-sb{person:03}/sb{person:03}t{sequence}aaaff"
            images, labels = root / "Images" / clip, root / "Frame_Labels" / "PSPI" / clip
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for frame in range(10):
                pspi = int(random.choice([0, 0, 1, 3, 8]))
                stem = f"{clip.rpartition('/')[2]}{frame:03}"
                pixels = random.integers(0, 60, (48, 48))
                pixels[: 1 + 4 * pspi] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(images / f"{stem}.png")
                (labels / f"{stem}_facs.txt").write_text(f"  {pspi:.7e}\n")
                truth[f"{clip}/{stem}"] = pspi
    return truth


def test_pspi_of_one_person_left_out(tmp_path):
    truth = unbc(tmp_path / "data")
    recipe = {
        "name": "pspi",
        "data": {"source": "unbc", "root": str(tmp_path / "data"), "targets": ["pspi"], "size": 48, "channels": 1},
        "protocol": {"kind": "leave-one-out", "fold": 2, "validation": 0.25},
        "network": {"name": "compact_vgg_16"},
        "training": {"epochs": 1, "batch_size": 16},
    }
    run = api.train(recipe, out=tmp_path / "run")
    stored = pd.read_parquet(run.folder / "predictions.parquet").set_index("sample")
    assert set(stored["subject"]) == {"002-sb002"}
    assert stored["y_pspi"].to_dict() == {name: value for name, value in truth.items() if name.startswith("002-")}
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["task"] == "regression"
    error = np.abs(stored["y_pspi"] - stored["v_pspi"]).mean()
    assert metrics["overall"]["expected_mae"]["value"] == pytest.approx(error, rel=1e-5)


def test_units_of_frames_of_videos(tmp_path, forked_workers):
    from films import make_video

    units, frames, people = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26), 12, 4
    for person in range(1, people + 1):
        subject = f"SN{person:03}"
        video = tmp_path / f"data/Videos_LeftCamera/LeftVideo{subject}_comp.avi"
        video.parent.mkdir(parents=True, exist_ok=True)
        make_video(video, frames)
        for index, unit in enumerate(units):
            path = tmp_path / f"data/ActionUnit_Labels/{subject}/{subject}_au{unit}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{frame},{(frame + index + person) % 4}\n" for frame in range(1, frames + 1)))
    recipe = {
        "name": "units",
        "data": {
            "source": "disfa",
            "root": str(tmp_path / "data"),
            "targets": ["AU4", "AU12"],
            "positive_from": 2,
            "size": 48,
            "clips": {"frames": 1},
        },
        "protocol": {"kind": "kfold", "folds": 2, "fold": 0, "validation": 0},
        "network": {"name": "compact_vgg_16"},
        "training": {"epochs": 1, "batch_size": 16},
    }
    run = api.train(recipe, out=tmp_path / "run")
    stored = pd.read_parquet(run.folder / "predictions.parquet")
    assert stored["subject"].nunique() == 2
    assert len(stored) == 2 * frames
    for row in stored.itertuples():
        person, frame = int(row.subject[2:]), int(row.sample.rpartition("/")[2])
        assert (row.y_AU4, row.y_AU12) == tuple((frame + index + person) % 4 >= 2 for index in (2, 6))
        assert 0 < row.v_AU4 < 1
