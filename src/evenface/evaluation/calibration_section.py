"""The part of a run's report about calibration and abstention: figures and tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evenface.evaluation import figures
from evenface.evaluation import scores as scoring
from evenface.evaluation.abstention import answered, risk_coverage
from evenface.evaluation.calibration_errors import Binning, Side, error_estimates, loss_estimates
from evenface.evaluation.comparison import Difference
from evenface.evaluation.fitted import Calibration
from evenface.evaluation.intervals import Estimate, units_of
from evenface.evaluation.page import Picture, Section
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.style import MUTED, colour, panels, styled
from evenface.evaluation.tables import Cell, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEFORE, AFTER = "as trained", "calibrated"
RISKS = (0.05, 0.1, 0.2, 0.3)
ERRORS: tuple[tuple[str, Binning, Side], ...] = (
    ("predicted class, bins of equal width (ECE)", "width", "top"),
    ("predicted class, bins of equal mass", "mass", "top"),
    ("mean over classes, bins of equal width", "width", "classes"),
    ("mean over classes, bins of equal mass", "mass", "classes"),
)

LOSSES = {"log loss": scoring.log_loss, "Brier score": scoring.brier}


def calibration_section(predictions: Predictions, calibration: Calibration, seed: int = 0) -> Section:
    """Show what calibration does to test predictions, and what answering less often gains.

    Parameters
    ----------
    predictions : Predictions
        Of the test samples, as trained.
    calibration : Calibration
        Fitted on validation data.
    seed : int, default=0
        Seed of the intervals.
    """
    after = calibration.predictions(predictions)
    pair = {BEFORE: predictions, AFTER: after}
    on = f"{calibration.fitted_on['samples']:,} validation samples"
    surer = "less sure" if calibration.temperature > 1 else "surer"
    text = (
        f"A temperature of {calibration.temperature:.2f}, fitted on {on} alone, makes the probabilities {surer} and "
        "leaves every predicted class as it is. All other parts of this page are of the probabilities as trained."
    )
    return Section(
        "Calibration and abstention",
        text,
        (
            Picture("calibration", figures.reliability(pair), "How often the predicted class was right on test data."),
            Picture(
                "risk-coverage",
                risk_coverage_figure(after, calibration),
                "Share of wrong answers where only the surest samples are answered. Dashes: all test samples are.",
            ),
        ),
        (error_table(predictions, after, on, seed), threshold_table(after, calibration, seed)),
    )


@styled
def risk_coverage_figure(after: Predictions, calibration: Calibration) -> "Figure":
    """Draw the share of wrong answers against the share of answered samples, on validation and on test data."""
    right = after.predicted == after.labels
    curves = {
        "validation": calibration.curve,
        "test": risk_coverage(after.probabilities.max(axis=1), right),
    }
    figure, (axis,) = panels(height=2.6)
    axis.axhline(curves["test"].risk[-1], color=MUTED, linestyle=(0, (3, 2)), linewidth=0.8)
    for place, (name, curve) in enumerate(curves.items()):
        axis.plot(curve.coverage, curve.risk, color=colour(place), label=f"{name} (AURC {curve.area:.3f})")
    axis.set(xlim=(0, 1), ylim=(0, None), xlabel="share of samples answered", ylabel="wrong among answers")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def error_table(before: Predictions, after: Predictions, on: str, seed: int) -> Table:
    """Show errors of calibration, log loss and Brier score before and after."""
    found = {
        name: error_estimates(before, after, binning=binning, of=of, seed=seed) for name, binning, of in ERRORS
    } | {name: loss_estimates(before, after, loss, seed=seed) for name, loss in LOSSES.items()}
    rows = tuple((name, first, second, _signed(change)) for name, (first, second, change) in found.items())
    note = (
        f"On test data; the temperature comes from {on}. Lower is better. 15 bins. The first four have basic bootstrap "
        "intervals: chance enlarges such an error, and resampling does so once more."
    )
    return Table("calibration", "Calibration error", ("error", BEFORE, AFTER, "difference"), rows, note)


def _signed(change: Estimate) -> Difference:
    """Write an estimate with its sign; nothing was tested here."""
    return Difference("", change.value, change.low, change.high, float("nan"), float("nan"))


def threshold_table(after: Predictions, calibration: Calibration, seed: int, risks: Sequence[float] = RISKS) -> Table:
    """Show what thresholds for some risks, found on validation data, do to the test data."""
    rows: list[tuple[Cell, ...]] = []
    for risk in risks:
        point = calibration.curve.at_risk(risk)
        if point is None:
            rows.append((f"{risk:.0%}", *["–"] * 5))
            continue
        found = answered(after, point.threshold, seed=seed)
        share, name = min(
            (share, name) for share, name in zip(found.class_coverage, after.classes, strict=True) if share == share
        )
        least = f"{name} ({share:.2f})"
        rows.append((f"{risk:.0%}", point.threshold, point.coverage, found.coverage, found.risk, least))
    header = (
        "wrong answers borne",
        "threshold",
        "answered, validation",
        "answered, test",
        "wrong, test",
        "class answered least",
    )
    note = (
        "Thresholds are of the calibrated probability, found on validation data: on test data the share of wrong "
        f"answers may be another. Intervals are over {units_of(after).name}."
    )
    return Table("abstention", "Answering only where sure", header, tuple(rows), note)
