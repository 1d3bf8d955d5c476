"""Trees laid out like UNBC-McMaster and DISFA, with made-up frames: training, prediction and the page's API."""

import numpy as np
import pytest
from films import make_video
from PIL import Image

pytest.importorskip("fastapi")

from pages import client_of, ended

import evenface as ef
from evenface.inference import open_model
from evenface.inference.prediction_table import read_rows

FRAMES = 10
DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


def frame(random, level, channels=()):
    """Noise whose brighter part is the larger, the higher a level from 0 to 15 is."""
    pixels = random.integers(0, 60, (48, 48, *channels))
    pixels[: 3 * level] += 150
    return pixels.astype(np.uint8)


def write_unbc(root):
    """Two sequences of four people: frames, their PSPI, and the action units that it is the sum of."""
    random = np.random.default_rng(0)
    for person in range(4):
        for sequence in range(2):
            clip = f"{person:03}-sb{person:03}/sb{person:03}t{sequence}aaaff"
            images, *labels = (root / name / clip for name in ("Images", "Frame_Labels/PSPI", "Frame_Labels/FACS"))
            for folder in (images, *labels):
                folder.mkdir(parents=True)
            for number in range(FRAMES):
                brow, cheek, eyes = (int(level) for level in random.integers(0, (6, 6, 2)))
                stem = f"{clip.rpartition('/')[2]}{number:03}"
                Image.fromarray(frame(random, brow + cheek + eyes)).save(images / f"{stem}.png")
                (labels[0] / f"{stem}_facs.txt").write_text(f"   {brow + cheek + eyes:.7e}\n")
                units = "".join(f"   {u:.7e}   {level:.7e}\n" for u, level in ((4, brow), (6, cheek), (43, eyes)))
                (labels[1] / f"{stem}_facs.txt").write_text(units)
    return images / f"{stem}.png"


def write_disfa(root):
    """A video of each of four people, and twelve action units in each of its frames."""
    random = np.random.default_rng(0)
    for subject in (f"SN{person:03}" for person in range(1, 5)):
        video = root / f"Videos_LeftCamera/LeftVideo{subject}_comp.avi"
        labels = root / "ActionUnit_Labels" / subject
        for folder in (video.parent, labels):
            folder.mkdir(parents=True, exist_ok=True)
        levels = random.integers(0, 6, (FRAMES, len(DISFA_UNITS)))
        make_video(video, [frame(random, 3 * row[6], (3,)) for row in levels])
        for unit, column in zip(DISFA_UNITS, levels.T, strict=True):
            lines = "".join(f"{number},{level}\n" for number, level in enumerate(column, 1))
            (labels / f"{subject}_au{unit}.txt").write_text(lines)
    return video


UNITS = [f"AU{unit}" for unit in (4, 6, 43)]
CASES = {
    "levels": (write_unbc, {"source": "unbc"}, "ordinal", ["0", "1", "2", "3", "4-5", "6-16"]),
    "intensities": (write_unbc, {"source": "unbc", "targets": ["pspi", *UNITS]}, "regression", ["pspi", *UNITS]),
    "units": (write_unbc, {"source": "unbc", "targets": UNITS, "positive_from": 1}, "multilabel", UNITS),
    "video": (
        write_disfa,
        {"source": "disfa", "targets": ["AU4", "AU12"], "positive_from": 2, "clips": {"frames": 1}},
        "multilabel",
        ["AU4", "AU12"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_on_the_layout_predicts_at_the_command_and_on_the_page(tmp_path, case, forked_workers):
    write, data, task, names = CASES[case]
    path = write(tmp_path / "data")
    recipe = {
        "name": case,
        "data": {**data, "root": str(tmp_path / "data"), "size": 48, "channels": 1},
        "protocol": {"kind": "kfold", "folds": 2, "fold": 0, "validation": 0.25},
        "network": {"name": "compact_vgg_16"},
        "training": {"epochs": 1, "batch_size": 16},
    }
    run = ef.train(recipe, out=tmp_path / "runs" / case, sample_faces=False)
    if case == "video":
        path = path.with_name(f"LeftVideo{run.results.subject[0]}_comp.avi")
    table = tmp_path / "table.csv"
    faces = ef.predict(path, run.folder, out=table)
    rows, start = list(read_rows(table)), "v_" if task == "regression" else "p_"
    assert (len(rows), faces.skipped) == (FRAMES if case == "video" else 1, [])
    if case == "video":  # frames of a video are predicted as they were tested
        opened, results = open_model(run.folder), run.results
        stored = opened.calibrated(results.values[results.subject == results.subject[0]])
        np.testing.assert_allclose([[row[f"p_{name}"] for name in names] for row in rows], stored, atol=1e-5)
    expected = np.array([[row[f"{start}{name}"] for name in names] for row in rows], dtype=float)
    assert np.isfinite(expected).all()
    with client_of([tmp_path / "runs"]) as client:
        (model,) = client.get("/api/v1/models").json()["models"]
        assert (model["task"], model["classes"], model["usable"]) == (task, names, True)
        assert model["takes"] == ["image", "video"]
        sent = {"files": {"file": (path.name, path.read_bytes())}, "data": {"model": model["id"], "explain": True}}
        job = ended(client, client.post("/api/v1/predictions?wait=20", **sent).json())
        assert job["state"] == "done", job
        key = "values" if task == "regression" else "probabilities"
        got = [row[key] for row in job["prediction"]["rows"]]
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert len(job["prediction"]["explained"]) == 1
