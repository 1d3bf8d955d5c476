"""Shipped claims files of papers, and the command ``audit claims``."""

import pytest
from typer.testing import CliRunner

from evenface.audit import audit, shipped_claims
from evenface.cli import app

EXPECTED = {
    "p1": ["Table 3, Focal Loss: F1 83.40%", "Table 1, Level 1: 1,340 of 3740 is 35.83%", "Table 4: 12 of 16 values"],
    "p2": ["RAF-DB overall: from 89.77% to 90.36%", "150, mean: from 70.33% to 73.90%", "Section 4.4.2, RBF, mean"],
    "p3": ["Tables 1 and 3", "Tables 6 and 8, Large-LSTM, test: 2 printed", "no count out of 12 gives 93%"],
    "p4": ["32 of 36 values are not counts out of 4,000", "the best of 52.817", "91.180 is less than 91.260"],
    "p5": [
        "make the classes 1.29",
        "no count out of 6 gives 0.429",
        "146.9 parameters are impossible",
        "466.67%",
        "9 of 12 observed",
        "abstract on the loss function, against Table 1, Recall: standard - adaptive is -0.145, so standard is lower",
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_findings_in_the_papers(name):
    result = audit(name)
    lines = [f"{finding.where}: {finding.message}" for finding in result.findings]
    assert all(any(part in line for line in lines) for part in EXPECTED[name])
    if name == "p5":
        assert any(
            "one test set of 87 samples; positives: Anger 13, Disgust 17" in remark.message for remark in result.remarks
        )
        assert not any("Table 4, Anger" in line or "Table 3" in line for line in lines)
        # 8 conditions x 6 classifiers x 6 emotions is a consistent interpretation.
        assert not any("288" in line for line in lines)
        assert any("printed is 288" in remark.message for remark in result.remarks)
    if name == "p4":
        assert not any(line.startswith(("Table A7", "Table A6", "Table 6", "Table A4")) for line in lines)


def test_every_shipped_file_is_audited():
    assert set(shipped_claims()) == set(EXPECTED)


CONSISTENT = """name: mine
about: a paper
averages:
  - where: Table 1
    columns: [precision, recall, f1]
    rows: {A: 0.40 0.40 0.40}
"""


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (CONSISTENT, 0, "no inconsistencies in 3 printed numbers"),
        (CONSISTENT.replace("0.40}", "0.42}"), 1, "F1 0.42 is impossible"),
        (CONSISTENT.replace("recall", "recal"), 2, "unknown column recal"),
        (CONSISTENT.replace("0.40}", "0.4x}"), 2, "must be a number as printed"),
        (CONSISTENT.replace("averages", "average"), 2, "Did you mean averages?"),
        (CONSISTENT.replace("0.40 0.40 0.40", "0.40 0.40"), 2, "row A has 2 numbers for 3 columns"),
        ("- a list", 2, "is not a claims file"),
    ],
)
def test_the_exit_code_of_the_command(tmp_path, text, code, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["audit", "claims", str(path)])
    assert result.exit_code == code, result.output
    assert message in result.output


def test_the_command_accepts_several_files_and_lists_the_shipped_ones():
    result = CliRunner().invoke(app, ["audit", "claims", "p1", "p3"])
    assert result.exit_code == 1
    assert "\np3  " in result.output
    assert "p1, p2, p3, p4, p5" in CliRunner().invoke(app, ["audit", "claims", "p9"]).output
