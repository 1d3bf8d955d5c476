"""Files written whole or not at all, what kills leave behind, and texts that no spreadsheet or terminal obeys."""

import csv
import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.reporting.tables import Table
from evenface.utils.files import atomic_write
from evenface.utils.progress import printable, progress
from evenface.utils.tables import escape_csv_cell, escape_csv_table, unescape_csv_cell

FORMULAS = ("=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "'=1", "''@x")


@given(st.text(alphabet="'=+-@\t\rab1. e") | st.text())
def test_a_cell_is_no_formula_and_gives_its_text_back(text):
    cell = escape_csv_cell(text)
    assert unescape_csv_cell(cell) == text
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        float(cell)  # a number is the only thing that may begin so


@pytest.mark.parametrize("number", ["-2", "+1.5", "-1e-9", "-.5", "0", "a=b", "p_=x"])
def test_numbers_and_signs_inside_stay(number):
    assert escape_csv_cell(number) == number


def test_tables_are_safe_for_spreadsheets():
    frame = pd.DataFrame({"=a": FORMULAS, "n": np.arange(len(FORMULAS)), "none": None})
    for text in (
        escape_csv_table(frame).to_csv(index=False),
        Table("t", "t", ("=a", "n"), tuple(zip(FORMULAS, range(len(FORMULAS)), strict=True))).csv(),
    ):
        rows = list(csv.reader(io.StringIO(text)))
        assert rows[0][0] == "'=a"
        assert all(row[0].startswith("'") for row in rows[1:])
        assert [unescape_csv_cell(row[0]) for row in rows[1:]] == [*FORMULAS]
        assert [int(row[1]) for row in rows[1:]] == [*range(len(FORMULAS))]
    assert list(frame["=a"]) == [*FORMULAS], "the table itself stays as it was"


@given(st.text())
def test_nothing_printed_commands_the_terminal(text):
    shown = printable(text)
    assert not any((ord(sign) < 32 and sign not in "\t\n") or 127 <= ord(sign) < 160 for sign in shown)
    assert not set(shown) & set("\u202e\u2066\u200f")


def test_messages_beside_progress_are_printable(capsys):
    with progress("reading", 1) as bar:
        bar.say("set aside  \x1b]0;title\x07\x1b[2J.png")
    assert capsys.readouterr().err == "set aside  \\x1b]0;title\\x07\\x1b[2J.png\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no signal asks after a process there")
def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    target = tmp_path / "table.csv"
    code = f"""
import time
from pathlib import Path
from evenface.utils.files import atomic_write
with atomic_write(Path({str(target)!r})) as temporary:
    print(temporary, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
        left = writer.stdout.readline().strip()
        with atomic_write(tmp_path / "table.csv") as temporary:
            temporary.write_text("mine")
        assert Path(left).exists(), "whoever is alive is left alone"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    until = time.monotonic() + 10
    while Path(left).exists() and time.monotonic() < until:
        run = [sys.executable, "-c", code.replace("time.sleep(60)", "temporary.write_text('new')")]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert target.read_text() == "new"
