"""What runs and comparisons show of themselves in a prompt and in a notebook."""

import shutil

import pytest

import evenface as ef
from evenface.runs import Run


def shown(entry):
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


@pytest.fixture(scope="module")
def plain(two_runs):
    return Run(two_runs / "plain")


def test_a_run_shows_its_metrics(plain):
    overall = plain.metrics["overall"]
    assert repr(plain).startswith(f"<run {plain.folder}: balanced accuracy {shown(overall['balanced_accuracy'])}")
    assert f"<td>{shown(overall['balanced_accuracy'])}</td>" in plain._repr_html_()
    assert "<th>balanced accuracy</th>" in plain._repr_html_()


@pytest.mark.parametrize("content", [None, "no JSON", "{}"])
def test_a_run_without_usable_metrics_is_shown_nevertheless(plain, tmp_path, content):
    shutil.copytree(plain.folder, tmp_path / "run")
    file = tmp_path / "run" / "metrics.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert repr(Run(tmp_path / "run")) == f"<run {tmp_path / 'run'}: no metrics>"
    assert repr(Run(tmp_path)) == f"<run {tmp_path}: not finished>"
    assert Run(tmp_path)._repr_html_().count("<td>") == 1


def test_a_comparison_shows_its_methods_and_differences(two_runs, tmp_path):
    result = ef.compare([two_runs / "plain", two_runs / "weighted"], out=tmp_path, sample_faces=False)
    (pair,) = result.comparison.pairs
    values = [f"{method.name} {method.overall['balanced_accuracy'].value:.3f}" for method in result.comparison.methods]
    assert repr(result).startswith("<comparison by balanced accuracy: ")
    assert all(value in repr(result) for value in values)
    assert len(repr(result)) < 200
    difference = f"{pair.overall['balanced_accuracy'].value:+.3f}"
    assert f"<td>{'0.000' if float(difference) == 0 else difference} [" in result._repr_html_()
    assert result._repr_html_().count("<tr>") == 3
