"""Calibration error of stored probabilities on FER2013, and the effect of temperature scaling and label shift.

``python -m benchmarks.calibration`` reads the predictions in ``benchmarks/results`` and trains nothing. Calibrators of
runs with validation predictions are fitted on these. The runs of the study of methods have none: their test predictions
are split at random into halves, one to fit and one to test, five times. ``--figures FOLDER`` draws two figures.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, Figure, Result, parser, report
from evenface.config import load_recipe
from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.calibration import Calibration, calibration_error, error_estimates, fit_balance
from evenface.evaluation.label_shift import correction, estimate_prior, with_prior
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import log_loss
from evenface.reporting import figures, style
from evenface.reporting.figures import risk_coverage_figure
from evenface.training.class_prior import implied_prior

RUNS = (
    *(f"fer2013-best/seed-{seed}" for seed in range(3)),
    *(f"fer2013-factor10/{m}-0" for m in ("ce", "focal", "resample")),
)
SHIFTED = ("fer2013-best/seed-0", "fer2013-factor10/ce-0", "fer2013-factor10/resample-0")
STUDY = "p2-table1-fer2013-quick"
HALVES = 5
BALANCES = {"happy 60 %": ("happy", 0.6), "happy 5 %": ("happy", 0.05), "surprise 45 %": ("surprise", 0.45)}
"""A class and its proportion; the others share the rest in their original proportions."""


def loaded(folder: Path) -> tuple[Any, np.ndarray]:
    """Load the recipe and the class counts of the training set of a run."""
    name = "facts.json" if (folder / "facts.json").is_file() else "run.json"
    counts = json.loads((folder / name).read_text("utf-8"))["counts"]["train"]
    return load_recipe(folder / "recipe.yaml"), np.array(counts)


def fitted(folder: Path, validation: Predictions) -> Calibration:
    """Fit a calibrator."""
    implied = implied_prior(*loaded(folder))
    return Calibration.fit(validation, implied.prior, implied.reason, exact=implied.exact)


def triple(results: tuple[Estimate, Estimate, Estimate]) -> dict[str, list[float]]:
    """Write before, after and difference as value, low, high."""
    return {
        name: [round(v, 4) for v in (one.value, one.low, one.high)]
        for name, one in zip(("before", "after", "difference"), results, strict=True)
    }


def temperatures() -> dict[str, Any]:
    """Fit on the validation set, evaluate on the test set."""
    table = {}
    for name in RUNS:
        folder = RESULTS / name
        validation, test = (Predictions.load(folder / f"{part}.parquet") for part in ("validation", "predictions"))
        made = fitted(folder, validation)
        shifted = replace(made, temperature=made.shifted_temperature)
        after = made.predictions(test)
        table[name] = {
            "temperature": round(made.temperature, 3),
            "shifted temperature": round(made.shifted_temperature, 3),
            "trained for": made.prior_said,
            "its balance": made.prior.round(3).tolist(),
            "its balance, fitted": fit_balance(validation.probabilities, validation.labels)[1].round(3).tolist(),
            "validation": {key: round(value, 4) for key, value in made.fitted_on.items()},
            "ece": triple(error_estimates(test, after)),
            "ece, shifted temperature": triple(error_estimates(test, shifted.predictions(test))),
            "classwise ece": triple(error_estimates(test, after, of="classes")),
            "log loss": [round(float(log_loss(p.probabilities, p.labels).mean()), 4) for p in (test, after)],
        }
    return table


def balance_of(test: Predictions, name: str, share: float) -> np.ndarray:
    """Return a class prior with a given proportion of one class."""
    prior = test.support / len(test)
    place = test.classes.index(name)
    prior = prior * (1 - share) / (1 - prior[place])
    prior[place] = share
    return np.asarray(prior)


def resampled(test: Predictions, prior: np.ndarray, seed: int) -> Predictions:
    """Draw as many samples with that class prior as possible, without replacement."""
    random = np.random.default_rng(seed)
    size = np.floor(min(n / p for n, p in zip(test.support, prior, strict=True)))
    each = np.floor(size * prior + 1e-9).astype(int)
    rows = [random.choice(np.flatnonzero(test.labels == k), n, replace=False) for k, n in enumerate(each)]
    return test.take(np.concatenate(rows))


def corrections() -> dict[str, Any]:
    """Correct for label shift: with known, estimated, and wrong priors."""
    table: dict[str, Any] = {}
    for name in SHIFTED:
        folder = RESULTS / name
        validation, test = (Predictions.load(folder / f"{part}.parquet") for part in ("validation", "predictions"))
        made = fitted(folder, validation)
        plain = made.predictions(test)
        counts = loaded(folder)[1]
        wrong = counts / counts.sum() if "resample" in name or "best" in name else np.full(len(counts), 1 / len(counts))
        again = estimate_prior(made.shifted(validation.probabilities), made.prior).prior
        off = float(np.abs(again - validation.support / len(validation)).sum() / 2)
        rows = table.setdefault(name, {})
        for label, (chosen, share) in BALANCES.items():
            prior = balance_of(test, chosen, share)
            row = rows.setdefault(
                label, {"given": triple(correction(plain, made.predictions(test, prior), prior).accuracy)}
            )
            misled = replace(plain, probabilities=with_prior(made.shifted(test.probabilities), wrong, prior))
            row["given, wrong training balance"] = triple(correction(plain, misled, prior).accuracy)
            results = []
            for seed in range(HALVES):
                drawn = resampled(plain, prior, seed)
                em = estimate_prior(made.shifted(drawn_raw(test, drawn).probabilities), made.prior)
                gain = correction(
                    drawn, made.predictions(drawn_raw(test, drawn), em.prior), prior, resamples=2000
                ).accuracy
                away = [float(np.abs(q - prior).sum() / 2) for q in (em.prior, made.prior)]
                results.append(
                    {
                        "samples": len(drawn),
                        "steps": em.steps,
                        "converged": em.converged,
                        "off": away[0],
                        "off before": away[1],
                        **triple(gain),
                    }
                )
            row["estimated"] = results
            row["estimated, off on validation data"] = round(off, 4)
    return table


def drawn_raw(test: Predictions, drawn: Predictions) -> Predictions:
    """Return the same samples before calibration."""
    places = {name: row for row, name in enumerate(test.sample)}
    return test.take([places[name] for name in drawn.sample])


def methods() -> dict[str, Any]:
    """Fit on one half of the test predictions of each method, evaluate on the other, and correct for its prior."""
    table: dict[str, Any] = {}
    for folder in sorted((RESULTS / STUDY / "runs").glob("*/seed-0")):
        test = Predictions.load(folder / "predictions.parquet")
        counts = loaded(folder)[1]
        rows = []
        for seed in range(HALVES):
            order = np.random.default_rng(seed).permutation(len(test))
            half, judged = test.take(order[: len(test) // 2]), test.take(order[len(test) // 2 :])
            made = fitted(folder, half)
            own = half.support / len(half)
            plain = made.predictions(judged)
            right = made.predictions(judged, own)
            wrong = with_prior(made.shifted(judged.probabilities), counts / counts.sum(), own)
            sides = {
                "before": judged.probabilities,
                "after": plain.probabilities,
                "right": right.probabilities,
                "counts": wrong,
            }
            rows.append(
                {
                    "temperature": made.temperature,
                    **{f"ece {side}": calibration_error(p, judged.labels) for side, p in sides.items()},
                    **{f"log loss {side}": float(log_loss(p, judged.labels).mean()) for side, p in sides.items()},
                    **{
                        f"accuracy {side}": float((p.argmax(axis=1) == judged.labels).mean())
                        for side, p in sides.items()
                    },
                }
            )
        implied = implied_prior(*loaded(folder))
        means = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
        table[folder.parent.name.removeprefix("method-")] = {
            "trained for": implied.reason,
            "exact": implied.exact,
            **means,
        }
    return table


def draw(folder: Path) -> None:
    """Draw reliability diagram and risk-coverage curve of the first run."""
    source = RESULTS / RUNS[0]
    validation, test = (Predictions.load(source / f"{part}.parquet") for part in ("validation", "predictions"))
    made = fitted(source, validation)
    after = made.predictions(test)
    style.save(figures.reliability({"as trained": test, "calibrated": after}), folder / "calibration-fer2013.svg")
    style.save(risk_coverage_figure(after, made), folder / "risk-coverage-fer2013.svg")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--figures", type=Path, help="folder to draw two figures into")
    given = options.parse_args()
    results = {"temperatures": temperatures(), "corrections": corrections(), "methods": methods()}
    shown = [
        Figure(f"{name}: ECE {side}", one["ece"][side][0])
        for name, one in results["temperatures"].items()
        for side in ("before", "after")
    ]
    for name, rows in results["corrections"].items():
        shown += [
            Figure(f"{name}, {label}: accuracy gained", row["given"]["difference"][0]) for label, row in rows.items()
        ]
    settings = {"bins": 15, "resamples": 2000, "halves": HALVES}
    report(Result("calibration", "stored predictions of FER2013's PublicTest", settings, results, shown), given)
    if given.figures is not None:
        draw(given.figures)


if __name__ == "__main__":
    main()
