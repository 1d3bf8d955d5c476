"""The files of a finished run, written from predictions without training."""

import pandas as pd

from evenface.config import dump_recipe, load_recipe
from evenface.evaluation.summary import metrics_of
from evenface.runs import FACTS, HISTORY, METRICS, PREDICTIONS, RECIPE, SPLIT, Run
from evenface.utils.files import write_json

RECIPE_OF = {"name": "r", "data": {"source": "biovid", "root": "x"}, "training": {"epochs": 1}}


def ended(folder, predictions, *, notes=(), source="biovid", trained=("q1", "q2"), recipe=None):
    """Write the folder of a finished run."""
    folder.mkdir(parents=True)
    recipe = recipe or load_recipe(RECIPE_OF, {"data.source": source})
    (folder / RECIPE).write_text(dump_recipe(recipe))
    predictions.save(folder / PREDICTIONS)
    write_json(folder / METRICS, metrics_of(predictions, resamples=9))
    tested = pd.DataFrame({"sample": predictions.sample, "label": predictions.labels, "subject": predictions.subject})
    sides = pd.DataFrame({"sample": trained, "label": 0, "subject": trained}).assign(side="train", row=0)
    pd.concat([sides, tested.assign(side="test", row=0)]).to_parquet(folder / SPLIT)
    pd.DataFrame({"epoch": [1], "train_loss": [1.0], "validation_loss": [1.0]}).to_csv(folder / HISTORY, index=False)
    counts = {"train": [9] * len(predictions.classes), "test": predictions.support.tolist()}
    known = {"manifest": "m", "store": str(folder / "gone"), "prepared": "faces", "device": "cpu", "epochs": 1}
    known |= {
        "training_seconds": 1.0,
        "environment": {"evenface": "0.1.0"},
        "seed": 0,
        "people": {"train": len(trained), "test": predictions.people},
        "counts": counts,
    }
    known |= {"recipe": recipe.model_dump(mode="json"), "classes": predictions.classes, "notes": list(notes)}
    write_json(folder / FACTS, known)
    return Run(folder)
