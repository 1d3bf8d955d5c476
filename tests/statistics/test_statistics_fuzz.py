"""Random designs: contrasts against statsmodels' own, REML against its likelihood, sizes of tests by simulation."""

import itertools
import string
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evenface import statistics as ef
from evenface.statistics.analysis import analyse
from evenface.statistics.anova import least_squares
from evenface.statistics.designs import design_table
from evenface.statistics.mixed_model import random_intercept, reml
from evenface.utils.errors import InputError

seeds = st.integers(0, 2**32 - 1)


def independent(seed, levels, *, keep=0.6, least=1):
    """Each value of a unit of its own, cells of very unequal size."""
    random = np.random.default_rng(seed)
    names = string.ascii_lowercase[: len(levels)]
    rows = []
    for cell in itertools.product(*(range(n) for n in levels)):
        levels_here = [f"{name}{code}" for name, code in zip(names, cell, strict=True)]
        count = least + random.binomial(6, keep * random.random())
        rows += [(*levels_here, sum(cell) + random.normal()) for _ in range(count)]
    table = pd.DataFrame(rows, columns=[*names, "value"])
    return table.assign(unit=[f"u{i}" for i in range(len(table))]).sample(frac=1, random_state=seed % 1000)


@given(seeds, st.lists(st.integers(2, 4), min_size=1, max_size=3))
@settings(max_examples=12, deadline=None)
def test_comparisons_are_contrasts_of_statsmodels_cell_means(seed, levels):
    table = independent(seed, levels)
    names = list(table.columns[: len(levels)])
    if len(table) <= np.prod(levels):
        return
    model = smf.ols("value ~ 0 + " + " : ".join(f"C({name})" for name in names), table).fit()
    cells = [dict(zip(names, cell, strict=True)) for cell in itertools.product(*(sorted(set(table[n])) for n in names))]
    key = [":".join(f"C({name})[{cell[name]}]" for name in names) for cell in cells]
    for factor in names:
        first, last = sorted(set(table[factor]))[0], sorted(set(table[factor]))[-1]
        row = pd.Series(0.0, index=model.params.index)
        for name, cell in zip(key, cells, strict=True):
            row[name] = (cell[factor] == last) * 1.0 - (cell[factor] == first)
        row /= sum(row > 0)  # equal weights over the cells of the other factors
        theirs = model.t_test(row.to_numpy())
        (found,) = ef.planned(table, "value", [(factor, last, first)], "unit", among=names).contrasts
        low, high = theirs.conf_int()[0]
        assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx(
            (float(np.squeeze(theirs.effect)), low, high), rel=1e-6, abs=1e-9
        )
        assert (found.p, found.df) == (pytest.approx(float(theirs.pvalue), rel=1e-6), model.df_resid)
        if table[factor].nunique() == 2:  # the verdict of the comparison is that of the analysis of variance
            effect = ef.factorial(table, "value", names, "unit").effect(factor)
            assert (found.t**2, found.p) == pytest.approx((effect.f, effect.p), rel=1e-6)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_reml_is_no_worse_than_statsmodels(seed):
    random = np.random.default_rng(seed)
    units = np.repeat(np.arange(9), random.integers(1, 6, 9))
    x = np.column_stack([np.ones(len(units)), random.normal(size=len(units))])
    y = random.normal(size=9)[units] * random.choice([0.0, 0.3, 3.0]) + random.normal(size=len(units))
    found = reml(y, x, units)

    def likelihood(between, within):  # of the restricted likelihood, written out
        v = within * np.eye(len(y)) + between * (units[:, None] == units)
        w = np.linalg.inv(v)
        bread = x.T @ w @ x
        rest = y - x @ np.linalg.solve(bread, x.T @ w @ y)
        return -(np.linalg.slogdet(v)[1] + np.linalg.slogdet(bread)[1] + rest @ w @ rest) / 2, bread

    best, bread = likelihood(found.between, found.within)
    assert found.cov == pytest.approx(np.linalg.inv(bread))
    for factor in (0.98, 1.02):
        assert best >= likelihood(found.between * factor, found.within)[0] - 1e-9
        assert best >= likelihood(found.between, found.within * factor)[0] - 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a variance at the boundary
        theirs = sm.MixedLM(y, x, groups=units).fit(reml=True, method="powell")
    assert best >= likelihood(float(theirs.cov_re.squeeze()), float(theirs.scale))[0] - 1e-6


def test_unbalanced_mixed_models_reject_a_true_null_as_often_as_they_say():
    random = np.random.default_rng(1)
    cells = [(u, "lr"[u % 3 == 0], net) for u in range(12) for net in "abc"]
    table = pd.DataFrame(cells, columns=["unit", "side", "net"])[random.random(36) < 0.8].assign(value=0.0)
    design, hits = design_table(table, "value", ["side", "net"], "unit"), []
    for _ in range(200):  # nothing differs but units
        values = random.normal(size=12)[design.units] + random.normal(size=len(table))
        found = random_intercept(replace(design, values=values))
        hits.append([term.p <= 0.05 for term in found.terms])
    assert ((np.mean(hits, axis=0) > 0.01) & (np.mean(hits, axis=0) < 0.10)).all()  # 0.05 ± 3 standard errors


def test_comparisons_of_unequal_cells_reject_a_true_null_as_often_as_they_say():
    cells = [(a, b) for a, b, n in (("x", "p", 9), ("x", "q", 2), ("y", "p", 3), ("y", "q", 12)) for _ in range(n)]
    table = pd.DataFrame(cells, columns=["a", "b"]).assign(unit=range(26), value=0.0)
    design, random, hits = design_table(table, "value", ["a", "b"], "unit"), np.random.default_rng(3), []
    for _ in range(300):
        values = 3 * (table["b"] == "q").to_numpy() + random.normal(size=26)  # b matters, a does not
        hits.append(least_squares(replace(design, values=values)).f_test(("a",)).p <= 0.05)
    assert 0.02 < np.mean(hits) < 0.09


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)


@given(
    st.data(),
    st.lists(names, min_size=4, max_size=4, unique_by=lambda name: name.strip()),
    st.lists(names, min_size=2, max_size=3, unique_by=lambda name: name.strip()),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_table_is_answered_or_refused_in_a_sentence(data, columns, levels):
    """Odd names and levels, missing and repeated rows, constant outcomes, few units."""
    value, unit, *factors = columns
    n = data.draw(st.integers(1, 14))
    rows = [
        (
            data.draw(st.sampled_from([0.0, 1.0, 1e-12, 0.3, -2.5, 1e7, float("nan")])),
            data.draw(st.sampled_from(["u1", "u2", "u3", "u 4"])),
            data.draw(st.sampled_from(levels)),
            data.draw(st.sampled_from([*levels[:1], "q"])),
        )
        for _ in range(n)
    ]
    table = pd.DataFrame(rows, columns=columns)
    kind = data.draw(st.sampled_from([None, "between", "within", "mixed"]))
    try:
        found = analyse(table, value, factors, unit, kind=kind, higher_is_better=True, margin=0.1)
    except InputError:
        return
    text = "\n".join(found.lines)
    assert "nan" not in text.replace(value, "|").lower() or any("nan" in name.lower() for name in (*columns, *levels))
    for contrast in found.comparisons.contrasts:
        assert not (contrast.certain and contrast.replication < 3)
