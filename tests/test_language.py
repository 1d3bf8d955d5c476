"""Documentation, help, messages and comments use the field's standard terms; words to avoid are listed here."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest
from syntax import definitions

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "evenface"

# Wording to avoid, and the standard term to use instead.
AVOID = {
    r"uneven\w*|evened[- ]out": "class imbalance, imbalanced, rebalanced",
    r"pictures?\b": "image",
    r"remed(?:y|ies)\b": "imbalance method",
    r"set aside|sets aside": "rejected, skipped, dropped",
    r"(?:tested|test|training|validation) sides?\b": "test set, training set, validation set",
    r"divid\w+ (?:people|pictures)|torn apart|tears? (?:people|clips)": "subject-independent split; separated",
    r"swap test": "paired permutation test",
    r"\bborne\b": "maximum accepted",
    r"\bstands?\b": "is, is listed, counts as",
    r"shall stand|stood\b": "expected",
    r"\b(?:says?|said)\b": "state, report, print, specify",
    r"\b(?:tells?|told)\b": "state, report, determine",
    r"\bholds against\b|held against": "compare with",
    r"\brests? on\b": "depends on, is based on",
    r"\b(?:has|have) in mind\b": "implies",
    r"how sure\b": "uncertainty, confidence",
    r"probabilities (?:that )?hold\b": "calibrated",
    r"\bwalk(?:s|ing)? ahead\b": "prefetch",
    r"looks? on while": "run in evaluation mode",
    r"\b(?:go|goes|going|went) on where\b": "resume",
    r"\banew\b": "again, recompute",
    r"\bwhose;": "which",
    r"what is said of|as (?:is|was) said": "as described",
    r"\bto no use\b": "unnecessary",
    r"\blearnt from\b": "trained on",
    r"\bnearest right\b": "closest valid",
    r"\bof no effect\b": "has no effect",
    r"\b(?:answers?) to\b (?:doubtful|uneven)": "addresses",
    r"\bgives? back\b": "returns",
    r"\bdeal(?:s|t)\b": "assign, distribute",
    r"\bstretch(?:es)?\b": "segment",
    r"\blook(?:s|ed)? for\b": "detect, search",
}
WORDS = re.compile("|".join(f"({pattern})" for pattern in AVOID), re.IGNORECASE)
OPENING = re.compile(r"(?:Give|Say|Tell|Ask|Hold|Walk)s?\b")

VERBATIM = re.compile(r"inferred\s+from what\s+they\s+say")  # the notice on the AI Act, whose wording is fixed

# Packages of src ("." for the modules beside them) that are still to be rewritten. Remove what is clean; add none.
OPEN = frozenset([])
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff", "Makefile")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "methods").glob("*.md")),
    *sorted(path for path in (ROOT / "examples").iterdir() if path.is_file()),
]


def python_prose(path):
    """Return comments and strings of a Python file, without the code inside f-strings and strings of one word: keys."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None)}
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    texts = [token.string for token in tokens if token.type in kinds]
    prose = [text for text in texts if not re.fullmatch(r"(['\"])\w+\1", text)]
    return "\n".join(re.sub(r"\{[^{}\n]*\}", "", text) for text in prose)


def prose(path):
    """Return the text of a file that people read: code blocks and inline code of Markdown are left out."""
    if path.suffix == ".py":
        return python_prose(path)
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        text = re.sub(r"^( *)```(?!\{warning).*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"`[^`\n]*`", "", text)
    return text


def findings(text):
    """Return every word to avoid, with its surroundings and the term to use instead."""
    text = VERBATIM.sub("", text)
    terms = list(AVOID.values())
    return [
        f"'{' '.join(text[max(0, hit.start() - 40) : hit.end() + 20].split())}': use {terms[hit.lastindex - 1]}"
        for hit in WORDS.finditer(text)
    ]


def openings(path):
    """Return docstrings of a Python file whose first word is figurative."""
    nodes = [node for node in definitions(path) if not isinstance(node, ast.Import | ast.ImportFrom)]
    docstrings = [ast.get_docstring(node) or "" for node in nodes]
    return [f"docstring {text.splitlines()[0]!r}" for text in docstrings if OPENING.match(text)]


def files_of_packages():
    """Return files by the first part of their path below ``src/evenface``."""
    packages = defaultdict(list)
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix in {".py", ".yaml", ".html", ".js", ".css", ".md", ".j2"}:
            packages[path.relative_to(SOURCE).parts[0] if path.parent != SOURCE else "."].append(path)
    return dict(packages)


FILES = files_of_packages()


def source_findings(package):
    found = []
    for path in FILES[package]:
        hits = findings(prose(path)) + (openings(path) if path.suffix == ".py" else [])
        found += [f"{path.name}: {hit}" for hit in hits]
    return found


def test_words_to_avoid_are_found():
    assert len(findings("A remedy for uneven classes stands here.")) == 3
    assert not findings("An imbalance method for class imbalance.")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_uses_standard_terms(page):
    assert not findings(prose(page))


@pytest.mark.parametrize("package", sorted(set(FILES) - OPEN))
def test_a_rewritten_package_uses_standard_terms(package):
    assert not source_findings(package)


@pytest.mark.parametrize("package", sorted(OPEN & set(FILES)))
def test_an_open_package_still_has_words_to_avoid(package):
    assert source_findings(package), f"{package} is clean: remove it from OPEN"
