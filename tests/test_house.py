"""The house is in order: no ring of imports, the store leans on nothing above it, rooms and
functions that fit a screen, and no setting that nobody reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import errata

SOURCE = Path(errata.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py") if "template" not in path.parts)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def module(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module(path): path for path in FILES}
# Rings that close inside a function, each with its reason. A new one is looked at, not added.
RINGS = {
    # a corrected rate has exact bounds, and `errata.stats` names both
    ("errata.correction", "errata.stats"),
    # a candidate may be a server, whose HTTP client costs 0.1 s that others need not pay
    ("errata.candidates", "errata.evaluate.targets"),
    # `errata monitor watch=…` acts as a gateway does
    ("errata.release.control", "errata.release.monitor", "errata.release.plan",
     "errata.release.rollout"),
}  # fmt: skip


def imported(node: ast.AST, inside: bool) -> Iterator[str]:
    """What a file imports: at its top, or wherever; what only the type checker sees does not
    count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside:
            continue
        if isinstance(child, ast.Import):
            yield from (name.name for name in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            inner = [f"{child.module}.{name.name}" for name in child.names]
            yield from (name if name in NAMES else child.module for name in inner)
        else:
            yield from imported(child, inside)


def graph(inside: bool) -> dict[str, set[str]]:
    return {
        name: {other for other in imported(TREES[path], inside) if other in NAMES} - {name}
        for name, path in NAMES.items()
    }


def rings(edges: dict[str, set[str]]) -> set[tuple[str, ...]]:
    """The modules that reach each other: what is left when those without a way back are gone."""
    reach = {name: set(others) for name, others in edges.items()}
    for middle in edges:
        for name in edges:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    return {
        tuple(sorted(other for other in reach[name] if name in reach[other]))
        for name in edges
        if name in reach[name]
    }


def test_no_module_imports_itself_over_others() -> None:
    assert rings(graph(inside=False)) == set()


def test_rings_inside_functions_are_the_known_ones() -> None:
    assert rings(graph(inside=True)) == RINGS


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 2 or (len(parts) == 2 and (SOURCE / parts[1]).is_dir()) else ""


def test_what_lies_below_leans_on_nothing_above() -> None:
    """The store knows no stage, training asks no gate, and a release is far from an optimiser."""
    forbidden = {
        "store": {"build", "train", "evaluate", "safety", "release", "serve", "gateway", "privacy"},
        "train": {"release", "gateway", "privacy", "export", "infer"},
        "intake": {"train", "evaluate", "safety", "release", "serve", "gateway"},
        "cost": {"train", "evaluate", "safety", "release", "serve", "gateway"},
        "release": {"train", "gateway", "export", "infer"},
    }
    leans = {
        (name, other)
        for name, others in graph(inside=False).items()
        for other in others
        if room(other) in forbidden.get(room(name), set())
    }

    assert leans == set()


# Longer than 350 lines, each for a reason.
LONG = {"records.py": "every noun in one place, read first: most of it is fields"}


def test_a_file_is_read_at_one_sitting() -> None:
    lines = {str(path.relative_to(SOURCE)): path.read_text("utf-8").count("\n") for path in FILES}

    assert {name for name, count in lines.items() if count > 350} == set(LONG)


def test_a_function_fits_a_screen() -> None:
    long = [
        f"{path.relative_to(SOURCE)}:{node.name}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno >= 60
    ]

    assert long == []
