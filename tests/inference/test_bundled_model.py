"""The bundled model is what its card says: on a small set of people drawn for this test, and in what it shows."""

import numpy as np
import pytest

import evenface as ef
from evenface.config import load_recipe
from evenface.config.predict import RELIABLE
from evenface.synthesis.actions import AUS, LABELS
from evenface.synthesis.images import draw_faces


@pytest.fixture(scope="module")
def model():
    return ef.load()


@pytest.fixture(scope="module")
def drawn():
    """Faces of people that no training has seen, at the size that they were trained at."""
    return draw_faces(70, people=35, size=72, seed=77, look="varied")


def test_the_card_is_of_the_shipped_recipe_and_has_results_on_real_faces(model):
    recipe, real = load_recipe("evenface-synthetic"), model.card["real_faces"]
    assert model.model.auxiliary == recipe.data.auxiliary
    assert real["samples"] > 3_000
    assert 1 / 7 < real["balanced_accuracy"] < 1
    assert real["balanced_accuracy"] == pytest.approx(np.mean(list(real["recall"].values())))
    shown = {name for name, area in real["units"].items() if area >= RELIABLE}
    assert set(model.model.shown()) == shown
    assert shown < set(model.model.auxiliary)


def test_people_drawn_anew_are_recognised_about_as_well_as_the_card_says(model, drawn):
    faces = [model(image) for image in drawn.images]
    found = [(row, answer[0]) for row, answer in enumerate(faces) if len(answer)]
    assert len(found) > 60
    true = np.array([LABELS[drawn.labels[row]] for row, _ in found])
    said = np.array([answer.label for _, answer in found])
    stated = model.card["results"]["overall"]["accuracy"]["value"]
    error = np.sqrt(stated * (1 - stated) / len(found))
    assert (true == said).mean() == pytest.approx(stated, abs=4 * error)
    for unit in model.model.shown():
        drawn_unit = drawn.units[[row for row, _ in found], AUS.index(int(unit[2:]))]
        values = [answer.values[unit] for _, answer in found]
        assert np.corrcoef(drawn_unit, values)[0, 1] > 0.5, unit
