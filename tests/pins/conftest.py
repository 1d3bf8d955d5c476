"""The option that writes the pins anew in place of comparing with them."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption("--regenerate-pins", action="store_true", help="write the pins of tests/pins anew")


@pytest.fixture(scope="session")
def pinned(request):
    """Compare a text with the file that pins it, or write that file where pins are regenerated."""

    def compare(name: str, text: str) -> None:
        path = FOLDER / name
        if request.config.getoption("--regenerate-pins", default=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        expected = path.read_text("utf-8") if path.is_file() else ""
        # Lists of lines, so that pytest shows which ones differ.
        assert text.splitlines() == expected.splitlines(), (
            f"{name} changed. If on purpose: pytest -n 0 tests/pins --regenerate-pins, and a line in CHANGELOG.md"
        )

    return compare
