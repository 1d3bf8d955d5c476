"""Statements of Python files, for tests that read the source; several times faster than ``ast.walk``."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path


def statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield each statement and those inside it, in order, without expressions."""
    for node in body:
        yield node
        for part in ("body", "handlers", "orelse", "finalbody", "cases"):
            if inner := getattr(node, part, None):
                yield from statements(inner)


@cache
def definitions(path: Path) -> tuple[ast.AST, ...]:
    """Return the module, its imports, classes and functions, at any depth."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return (tree, *(node for node in statements(tree.body) if isinstance(node, kinds)))
