"""Analysis of variance, mixed models, ranks: against sums of squares by hand, other libraries and figures in print."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.anova import AnovaRM, anova_lm

from evenface import statistics as ef
from evenface.utils.errors import InputError

LEVELS = {"a": ["a0", "a1"], "b": ["b0", "b1", "b2"], "c": ["c0", "c1"]}
seeds = st.integers(0, 2**32 - 1)


def crossed(seed=0, units=6, names="abc", spread=1.0):
    """Every unit in every cell, units apart by ``spread``."""
    random = np.random.default_rng(seed)
    apart = random.normal(scale=spread, size=units)
    rows = [
        (f"u{u}", *cell, apart[u] + random.normal() + (cell[0] == "a1"))
        for u in range(units)
        for cell in itertools.product(*(LEVELS[name] for name in names))
    ]
    return pd.DataFrame(rows, columns=["unit", *names, "value"])


def alone(seed=0, keep=0.8):
    """Each value of a unit of its own, cells of unequal size."""
    random = np.random.default_rng(seed)
    table = crossed(seed, units=8, spread=0)
    chosen = np.r_[np.ones(24, bool), random.random(len(table) - 24) < keep]  # at least two values in each cell
    return table[chosen].assign(unit=[f"u{i}" for i in range(chosen.sum())])


def residual_squares(y, *blocks):
    matrix = np.column_stack([np.ones(len(y)), *blocks])
    return float(((y - matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]) ** 2).sum())


# --- independent values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_type_three_squares_are_what_leaving_out_an_effect_costs(seed):
    table = alone(seed)
    found = ef.factorial(table, "value", ["a", "b", "c"], "unit")
    code = {
        "a": {"a0": [1], "a1": [-1]},
        "b": {"b0": [1, 0], "b1": [0, 1], "b2": [-1, -1]},
        "c": {"c0": [1], "c1": [-1]},
    }
    blocks = {}
    for size in (1, 2, 3):
        for term in itertools.combinations("abc", size):
            rows = []
            for _, row in table.iterrows():
                product = [1]
                for name in term:
                    product = [x * y for x in product for y in code[name][row[name]]]
                rows.append(product)
            blocks[":".join(term)] = np.array(rows)
    y = table["value"].to_numpy()
    whole = residual_squares(y, *blocks.values())
    for name, block in blocks.items():
        effect, df = found.effect(name), block.shape[1]
        lost = residual_squares(y, *(other for key, other in blocks.items() if key != name)) - whole
        assert (effect.df, effect.df_error) == (df, len(y) - 12)
        assert effect.sum_squares == pytest.approx(lost)
        assert effect.f == pytest.approx(lost / df / (whole / (len(y) - 12)))
        assert effect.eta == pytest.approx(lost / (lost + whole))


def test_an_unbalanced_factorial_equals_statsmodels_also_by_hc3():
    table = alone(3)
    found = ef.factorial(table, "value", ["a", "b", "c"], "unit")
    model = smf.ols("value ~ C(a, Sum) * C(b, Sum) * C(c, Sum)", table).fit()
    for theirs, column in ((anova_lm(model, typ=3), "p"), (anova_lm(model, typ=3, robust="hc3"), "robust_p")):
        p = theirs["PR(>F)"].dropna().to_numpy()[1:]
        assert [getattr(effect, column) for effect in found.effects] == pytest.approx(p, rel=1e-8)
    assert next(check for check in found.checks if check.name == "balance").holds is False


def test_the_papers_table_2_follows_from_its_f_with_40_degrees_of_freedom():
    for f, p, eta in ((0.282, 0.598, 0.007), (0.516, 0.477, 0.013), (0.587, 0.448, 0.015), (2.210, 0.145, 0.052)):
        assert stats.f.sf(f, 1, 40) == pytest.approx(p, abs=0.0006)
        assert ef.partial_eta(f, 1, 40)[0] == pytest.approx(eta, abs=0.0006)


@given(st.floats(0.01, 60), st.integers(1, 4), st.integers(5, 200))
@settings(max_examples=40)
def test_bounds_of_eta_are_where_the_noncentral_f_has_its_tails(f, df, rest):
    _, low, high = ef.partial_eta(f, df, rest)
    assert (low > 0) == (stats.f.sf(f, df, rest) < 0.05)
    for eta, tail in ((low, 0.95), (high, 0.05)):
        if eta > 0:
            shift = eta * (df + rest + 1) / (1 - eta)
            assert stats.ncf.cdf(f, df, rest, shift) == pytest.approx(tail, abs=1e-6)


# --- within units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [4, 5])
def test_within_units_equals_statsmodels(seed):
    table = crossed(seed)
    found = ef.factorial(table, "value", ["a", "b", "c"], "unit")
    theirs = AnovaRM(table, "value", "unit", ["a", "b", "c"]).fit().anova_table
    assert found.kind == "within"
    for effect in found.effects:
        row = theirs.loc[effect.name]
        assert (effect.f, effect.df, effect.df_error, effect.p) == pytest.approx(
            (row["F Value"], row["Num DF"], row["Den DF"], row["Pr > F"])
        )


@given(seeds)
@settings(max_examples=6)
def test_two_levels_within_units_are_the_paired_t_test_of_means(seed):
    table = crossed(seed, names="ac")
    effect = ef.factorial(table, "value", ["a", "c"], "unit").effect("a")
    pair = ef.compare(ef.pairs(table, "value", "a", "a1", "a0", "unit", among=["c"]), resamples=100)
    assert (effect.f, effect.p, effect.robust_p) == pytest.approx((pair.t**2, pair.p, pair.robust_p))


@given(seeds, st.floats(0.01, 100), st.floats(-9, 9), st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_order_of_rows_and_unit_of_measure_do_not_matter(seed, factor, shift, random):
    table = crossed(seed, names="ab")
    order = random.sample(range(len(table)), len(table))
    other = table.iloc[order].assign(value=lambda rows: rows["value"] * factor + shift)
    for kind in ("within", "between"):
        a, b = (ef.factorial(given, "value", ["a", "b"], "unit", kind=kind) for given in (table, other))
        for effect in a.effects:
            again = b.effect(effect.name)
            assert (effect.p, effect.eta, effect.epsilon) == pytest.approx(
                (again.p, again.eta, again.epsilon), rel=1e-6
            )


def test_greenhouse_and_geisser_on_differences_that_spread_unequally():
    table = crossed(6, names="b", units=20)
    table.loc[table.b == "b2", "value"] *= 6
    effect = ef.factorial(table, "value", ["b"], "unit").effect("b")
    cov = np.cov(table.pivot(index="unit", columns="b", values="value").to_numpy(), rowvar=False)
    k, mean = 3, cov.mean()
    top = (k * (np.trace(cov) / k - mean)) ** 2  # as Greenhouse and Geisser write it, of the covariance itself
    below = (k - 1) * ((cov**2).sum() - 2 * k * (cov.mean(axis=1) ** 2).sum() + k**2 * mean**2)
    assert effect.epsilon == pytest.approx(top / below)
    assert effect.robust_p == pytest.approx(stats.f.sf(effect.f, 2 * effect.epsilon, 38 * effect.epsilon))
    assert "far from sphericity" in ef.factorial(table, "value", ["b"], "unit").sentence


def test_taking_repeated_units_as_independent_is_possible_and_said():
    table = crossed(7, spread=5)
    paper = ef.factorial(table, "value", ["a", "b", "c"], "unit", kind="between")
    ours = ef.factorial(table, "value", ["a", "b", "c"], "unit")
    assert "72 values taken as independent, of 6 units" in paper.sentence
    assert "The same 6 units were measured in several cells" in paper.sentence
    assert "each of 6 units measured in all cells" in ours.sentence
    assert ours.effect("a").p < paper.effect("a").p


def test_what_does_not_allow_an_analysis_is_said():
    table = crossed(8)
    with pytest.raises(InputError, match="0 units measured in all 6 cells") as raised:
        ef.factorial(table.query("not (a == 'a1' and b == 'b2')"), "value", ["a", "b"], "unit")
    assert "1 combination of a, b has no value, such as a1, b2" in str(raised.value)
    with pytest.raises(InputError, match="one level only"):
        ef.factorial(table.query("a == 'a0'"), "value", ["a", "b"], "unit")
    flat = ef.factorial(table.assign(value=1.0), "value", ["a", "b"], "unit")
    assert math.isnan(flat.effect("a").p)
    assert "none is defined" in flat.sentence


def test_units_that_lack_a_cell_are_left_out_and_counted():
    found = ef.factorial(crossed(9).drop(index=3), "value", ["a", "b", "c"], "unit")
    assert (found.units, found.count) == (5, 60)
    assert "1 unit not measured in every cell excluded" in found.sentence


# --- a mixed model ---------------------------------------------------------------------------------------------------


def test_a_balanced_mixed_model_is_the_analysis_of_blocks():
    table = crossed(10, units=9, spread=2)
    found = ef.mixed(table, "value", ["a", "b"], "unit")
    table = table.groupby(["unit", "a", "b"], as_index=False)["value"].mean()
    theirs = anova_lm(smf.ols("value ~ C(unit) + C(a, Sum) * C(b, Sum)", table).fit(), typ=2)
    for term, name in zip(found.terms, ("C(a, Sum)", "C(b, Sum)", "C(a, Sum):C(b, Sum)"), strict=True):
        assert (term.f, term.df_error) == pytest.approx((theirs.loc[name, "F"], theirs.loc["Residual", "df"]), rel=1e-5)
    squares = theirs["sum_sq"] / theirs["df"]
    assert found.residual_sd**2 == pytest.approx(squares["Residual"], rel=1e-5)
    assert found.unit_sd**2 == pytest.approx((squares["C(unit)"] - squares["Residual"]) / 6, rel=1e-4)
    means = table.groupby("a")["value"].mean()
    assert found.differences[0].difference.value == pytest.approx(means["a1"] - means["a0"])


def test_an_unbalanced_mixed_model_maximises_the_restricted_likelihood():
    table = crossed(11, units=8, spread=2).sample(frac=0.7, random_state=1)
    found = ef.mixed(table, "value", ["a", "c"], "unit", interactions=False)
    table = table.groupby(["unit", "a", "c"], as_index=False)["value"].mean()
    y = table["value"].to_numpy()
    x = np.column_stack([np.ones(len(y)), np.where(table.a == "a0", 1, -1), np.where(table.c == "c0", 1, -1)])
    same = (table.unit.to_numpy()[:, None] == table.unit.to_numpy()).astype(float)

    def fit(ratio):
        inverse = np.linalg.inv(np.eye(len(y)) + ratio * same)
        bread = x.T @ inverse @ x
        beta = np.linalg.solve(bread, x.T @ inverse @ y)
        rest = y - x @ beta
        return beta, bread, inverse, float(rest @ inverse @ rest) / (len(y) - 3)

    def deviance(log_ratio):
        _, bread, inverse, scale = fit(math.exp(log_ratio))
        return (len(y) - 3) * math.log(scale) - np.linalg.slogdet(inverse)[1] + np.linalg.slogdet(bread)[1]

    ratio = math.exp(optimize.minimize_scalar(deviance, bounds=(-8, 8), method="bounded", options={"xatol": 1e-9}).x)
    beta, bread, _, scale = fit(ratio)
    assert found.residual_sd**2 == pytest.approx(scale, rel=1e-4)
    assert found.share == pytest.approx(ratio / (1 + ratio), rel=1e-4)
    assert found.terms[0].f == pytest.approx(beta[1] ** 2 / (scale * np.linalg.inv(bread)[1, 1]), rel=1e-4)
    assert found.terms[0].df_error == len(y) - 8 - 2


def test_units_that_do_not_differ_leave_estimates_of_least_squares_and_it_is_said():
    table = crossed(12, spread=0, names="ac")
    table["value"] -= table.groupby("unit")["value"].transform("mean")
    found = ef.mixed(table, "value", ["a", "c"], "unit")
    assert (found.unit_sd, found.share) == (0, 0)
    theirs = anova_lm(smf.ols("value ~ C(a, Sum) * C(c, Sum)", table).fit(), typ=3)
    assert [term.f for term in found.terms] == pytest.approx(theirs["F"].to_numpy()[1:4])
    assert {term.df_error for term in found.terms} == {24 - 6 - 3}
    assert "estimated variance between units is zero" in found.sentence


def test_a_table_without_noise_has_no_share_of_it_between_units():
    rows = [(float(a == "x"), f"u{u}", a, b) for u in range(6) for a in "xy" for b in "pq"]
    found = ef.mixed(pd.DataFrame(rows, columns=["value", "unit", "a", "b"]), "value", ["a", "b"], "unit")
    assert np.isnan(found.share)
    assert "nan" not in found.sentence


def test_what_differs_between_units_has_their_degrees_of_freedom():
    table = crossed(13, units=10, names="ac", spread=3)
    table["site"] = np.where(table.unit.str[1:].astype(int) < 5, "here", "there")
    found = {term.name: term for term in ef.mixed(table, "value", ["site", "a"], "unit").terms}
    means = table.groupby(["site", "unit"])["value"].mean()
    theirs = stats.ttest_ind(means["here"], means["there"])
    assert (found["site"].df_error, found["site"].f) == pytest.approx((8, theirs.statistic**2), rel=1e-4)
    assert found["site:a"].df_error == 20 - 10 - 2
    with pytest.raises(InputError, match="too few"):
        ef.mixed(table[table.unit.isin(["u0", "u9"])], "value", ["site", "a"], "unit")


# --- ranks -----------------------------------------------------------------------------------------------------------


def ranked(seed, n=14, k=4):
    random = np.random.default_rng(seed)
    rows = [(f"d{i}", f"m{j}", random.normal() + 0.4 * j) for i in range(n) for j in range(k)]
    return pd.DataFrame(rows, columns=["data", "method", "value"])


def test_demsars_critical_difference_and_statistics_of_his_ranks():
    found = ef.friedman(ranked(0), "value", "method", "data", higher_is_better=True)
    assert found.critical == pytest.approx(1.25, abs=0.005)  # 4 methods on 14 data sets, q = 2.569
    ranks = np.array([3.143, 2.000, 2.893, 1.964])  # his example: chi² = 9.28, F = 3.69
    chi2 = 12 * 14 / 20 * ((ranks**2).sum() - 4 * 25 / 4)
    assert chi2 == pytest.approx(9.28, abs=0.01)
    assert 13 * chi2 / (14 * 3 - chi2) == pytest.approx(3.69, abs=0.01)
    order = found.methods
    mine = 12 * 14 / 20 * ((np.array(found.average) ** 2).sum() - 25)
    assert found.chi2 == pytest.approx(mine)
    assert found.iman_f == pytest.approx(13 * mine / (42 - mine))
    assert found.p == pytest.approx(
        stats.friedmanchisquare(*ranked(0).pivot(index="data", columns="method")["value"].T.to_numpy()).pvalue
    )
    assert order[0] == "m3"


def test_pairs_differ_just_where_ranks_are_a_critical_difference_apart():
    for seed in range(5):
        found = ef.friedman(ranked(seed, k=6), "value", "method", "data", higher_is_better=True)
        rank = dict(zip(found.methods, found.average, strict=True))
        for (a, b), p in found.pairwise.items():
            assert (p <= 0.05) == (rank[b] - rank[a] >= found.critical)


@given(seeds, st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_ranks_see_order_only(seed, random):
    table = ranked(seed, n=8)
    order = random.sample(range(len(table)), len(table))
    other = table.iloc[order].assign(value=lambda rows: np.exp(3 * rows["value"]))
    a, b = (ef.friedman(given, "value", "method", "data", higher_is_better=True) for given in (table, other))
    assert dict(zip(a.methods, a.average, strict=True)) == dict(zip(b.methods, b.average, strict=True))
    worse = ef.friedman(table, "value", "method", "data", higher_is_better=False)
    assert [5 - rank for rank in reversed(worse.average)] == pytest.approx(list(a.average))


def test_ties_and_too_few_methods():
    table = ranked(1).assign(value=1.0)
    assert "all methods are tied" in ef.friedman(table, "value", "method", "data", higher_is_better=True).sentence
    with pytest.raises(InputError, match="a rank test requires three or more"):
        ef.friedman(ranked(1, k=2), "value", "method", "data")
