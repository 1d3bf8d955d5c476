"""Analyses held against what R prints: R 4.2.2, emmeans 1.8.4, car 3.1-1, nlme 3.1-162, sum-to-zero contrasts.

``lm``: ``Anova(lm(value ~ a * b), type = 3)`` and ``contrast(emmeans(m, "a"), "trt.vs.ctrl", adjust = "none")``.
``lme``: ``anova(lme(value ~ a * b, random = ~ 1 | unit), type = "marginal")`` and the same of emmeans with
``mode = "containment"``.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from printed import FLIP, NPK, ORTHODONT, SIMPSON, SLEEP3, TOOTH, table
from scipy import stats

from evenface import statistics as ef
from evenface.statistics.designs import design_table
from evenface.statistics.mixed_model import random_intercept
from evenface.utils.errors import InputError


def lm(text, names, plan, **given):
    found = ef.planned(table(text, names), "value", plan, "unit", among=names, **given)
    return found.contrasts


# --- independent values ----------------------------------------------------------------------------------------------


def test_a_comparison_of_unequal_cells_does_not_reverse():
    (network,) = lm(SIMPSON, ["network", "data"], [("network", "ViT", "CNN")])
    assert network.difference.value == pytest.approx(0.027163889, rel=1e-7)
    assert (network.error, network.df, network.t) == pytest.approx((0.0067876438, 40, 4.0019615), rel=1e-7)
    assert network.p == pytest.approx(0.00026434587, rel=1e-6)
    assert (network.difference.low, network.difference.high) == pytest.approx((0.013445549, 0.040882229), rel=1e-7)
    assert network.effect("d_s").value == pytest.approx(1.56, abs=0.005)  # eff_size(sigma = sigma(m))
    assert "evidence that ViT is higher" in network.sentence
    raw = table(SIMPSON, ["network", "data"]).groupby("network")["value"].mean()
    assert raw["ViT"] < raw["CNN"]


def test_comparisons_of_toothgrowth_without_eight_rows():
    plan = [("supp", "OJ", "VC"), ("dose", "d1", "d0.5"), ("dose", "d2", "d0.5")]
    printed = [
        (3.2578307, 0.96169383, 3.3875965, 0.0014535695),
        (9.1789683, 1.2059889, 7.6111552, 1.1133166e-09),
        (15.9989683, 1.1922393, 13.4192588, 1.6250726e-17),
    ]
    for found, row in zip(lm(TOOTH, ["supp", "dose"], plan), printed, strict=True):
        assert (found.difference.value, found.error, found.t, found.p) == pytest.approx(row, rel=1e-6)
        assert found.df == 46
    variance = ef.factorial(table(TOOTH, ["supp", "dose"]), "value", ["supp", "dose"], "unit")
    assert [round(effect.f, 5) for effect in variance.effects] == [11.47581, 90.06484, 4.04897]


def test_equivalence_of_cell_means_uses_the_same_error_and_degrees_of_freedom():
    (network,) = lm(SIMPSON, ["network", "data"], [("network", "ViT", "CNN")])
    found = ef.equivalence(network, 0.05)
    assert found.p == pytest.approx(stats.t.cdf((0.027163889 - 0.05) / 0.0067876438, 40), rel=1e-6)
    assert found.certain
    assert not ef.equivalence(network, 0.035).certain
    assert found.interval.low == pytest.approx(0.027163889 - stats.t.isf(0.05, 40) * 0.0067876438, rel=1e-6)


# --- a random intercept ----------------------------------------------------------------------------------------------


def fits(found, printed):
    for term, (name, df, rest, f, p) in zip(found.terms, printed, strict=True):
        assert (term.name, term.df, term.df_error) == (name, df, rest)
        assert (term.f, term.p) == pytest.approx((f, p), rel=1e-5, abs=5e-5)


def test_unbalanced_mixed_models_use_the_covariance_of_generalised_least_squares():
    found = ef.mixed(table(FLIP, ["m"]), "value", ["m"], "unit")
    fits(found, [("m", 2, 13, 3.9799258, 0.0448)])
    assert (found.unit_sd, found.residual_sd) == pytest.approx((0.42780102, 1.25071086), rel=1e-5)
    assert found.terms[0].certain
    _, b = found.differences[0], found.differences[-1]
    assert (b.difference.value, b.error, b.df, b.p) == pytest.approx((0.47363388, 0.63290114, 13, 0.46757065), rel=1e-5)
    found = ef.mixed(table(SLEEP3, ["day"]), "value", ["day"], "unit")
    fits(found, [("day", 2, 27, 31.894523, 7.67e-8)])
    later = found.differences[0]
    assert (later.difference.value, later.error) == pytest.approx((84.362443 - 38.937640, 10.8324), rel=1e-4)


def test_orthodont_is_compared_between_and_within_subjects():
    data = table(ORTHODONT, ["Sex", "age"])
    found = ef.mixed(data, "value", ["Sex", "age"], "unit")
    fits(
        found,
        [("Sex", 1, 25, 9.2921, 0.0054), ("age", 3, 75, 35.347328, 2.3968e-14), ("Sex:age", 3, 75, 2.3616, 0.0781)],
    )
    plan = [("Sex", "Male", "Female"), ("age", "a12", "a10"), ("age", "a8", "a10")]
    sex, later, earlier = ef.planned(data, "value", plan, "unit").contrasts
    assert (sex.difference.value, sex.error, sex.df, sex.p) == pytest.approx(
        (2.3210227, 0.76141685, 25, 0.0053750559), rel=1e-6
    )
    assert (later.difference.value, later.error, later.df, later.p) == pytest.approx(
        (1.38494318, 0.38922279, 75, 6.5160887e-04), rel=1e-6
    )
    assert (earlier.difference.low, earlier.difference.high) == pytest.approx((-1.76684884, -0.21610571), rel=1e-6)


def test_incomplete_blocks_take_confounded_interactions_between_blocks():
    data = table(NPK, ["N", "P", "K"])
    found = ef.mixed(data, "value", ["N", "P", "K"], "unit")
    printed = [12.25873, 0.54413, 6.16569, 1.37830, 2.14597, 0.03119, 0.48322]
    p = [0.0043718, 0.4749041, 0.0287951, 0.2631653, 0.1686479, 0.8627521, 0.5252361]
    names = ["N", "P", "K", "N:P", "N:K", "P:K", "N:P:K"]
    fits(found, list(zip(names, [1] * 7, [12] * 6 + [4], printed, p, strict=True)))
    (nitrogen,) = ef.planned(data, "value", [("N", "N1", "N0")], "unit", among=["N", "P", "K"]).contrasts
    assert (nitrogen.difference.value, nitrogen.error) == pytest.approx((5.6166667, 1.6041848), rel=1e-5)


def test_an_interaction_without_values_is_left_out_and_named():
    data = table(ORTHODONT, ["Sex", "age"]).query("not (Sex == 'Male' and age == 'a8')")
    found = ef.mixed(data, "value", ["Sex", "age"], "unit")
    again = ef.mixed(data, "value", ["Sex", "age"], "unit", interactions=False)
    assert [term.name for term in found.terms] == ["Sex", "age"]
    assert [term.f for term in found.terms] == [term.f for term in again.terms]
    assert "Sex:age cannot be estimated, as 1 combination of Sex, age has no value, such as Male, a8" in found.sentence
    with pytest.raises(InputError, match="the effects of b and a cannot be separated: 2 combinations"):
        ef.factorial(data.assign(a=data["Sex"], b=data["Sex"] + "s"), "value", ["a", "b"], "unit", kind="between")


def test_where_units_do_not_differ_degrees_of_freedom_stay_those_of_units():
    random = np.random.default_rng(1)
    rows = []
    for unit in range(8):  # values of one unit repel each other, so that the variance between units is zero
        apart = random.normal(size=4)
        apart -= apart.mean()
        for place, (a, c) in enumerate(("xp", "xq", "yp", "yq")):
            if random.random() < 0.85:
                rows.append((f"u{unit}", a, c, round(float(apart[place] + 0.5 * (a == "y")), 4)))
    found = ef.mixed(pd.DataFrame(rows, columns=["u", "a", "c", "y"]), "y", ["a", "c"], "u")
    fits(
        found,
        [
            ("a", 1, 19, 7.9417552, 0.0109813671),
            ("c", 1, 19, 0.0150865686, 0.9035337184),
            ("a:c", 1, 19, 2.8699681639, 0.1065764324),
        ],
    )
    assert found.residual_sd == pytest.approx(0.77025686, rel=1e-6)
    assert found.unit_sd == 0


# --- sphericity ------------------------------------------------------------------------------------------------------


def test_of_complete_units_the_p_beside_is_that_of_the_analysis_within_units():
    random = np.random.default_rng(3)
    cells = [(u, a, b) for u in range(12) for a in "xy" for b in "pqr"]
    data = pd.DataFrame(cells, columns=["unit", "a", "b"])
    slope = random.normal(size=12)[data["unit"]] * (data["a"] == "y") * 2
    data["value"] = random.normal(size=len(data)) * data["b"].map({"p": 1, "q": 1, "r": 3}) + slope
    model = ef.mixed(data, "value", ["a", "b"], "unit")
    within = ef.factorial(data, "value", ["a", "b"], "unit")
    for term in model.terms:
        effect = within.effect(term.name)
        p = effect.p if effect.df == 1 else effect.robust_p  # Greenhouse and Geisser's
        assert (term.robust_p, term.epsilon) == pytest.approx((p, effect.epsilon), rel=1e-4)
    check = next(check for check in model.checks if check.name == "sphericity")
    assert check.holds is False
    pair = ef.compare(ef.pairs(data, "value", "a", "y", "x", "unit", among=["b"]), resamples=50)
    assert model.differences[0].robust_p == pytest.approx(pair.p, rel=1e-4)


def test_slopes_that_differ_between_units_deceive_a_random_intercept_but_not_the_p_beside():
    random = np.random.default_rng(0)
    cells = pd.DataFrame([(u, a, b) for u in range(14) for a in "xy" for b in "pqr"], columns=["unit", "a", "b"])
    design = design_table(cells.drop(index=[3, 20, 41]).assign(value=0.0), "value", ["a", "b"], "unit")
    second, hits = design.of("a", "y"), []
    for _ in range(100):
        slopes = random.normal(size=14)[design.units] * second
        values = slopes + 0.7 * random.normal(size=len(slopes))
        effect = random_intercept(replace(design, values=values)).terms[0]
        hits.append((effect.p <= 0.05, effect.robust_p <= 0.05))
    plain, own = np.mean(hits, axis=0)
    assert own < 0.12
    assert plain > own + 0.08
