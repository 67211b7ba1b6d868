"""The mutants of a source file: every place where one operator or number can be another, thinned to a fixed sample."""

import ast
from dataclasses import dataclass
from hashlib import sha256

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

#: What stands for what. Others (a shift of floats, a sum of masks) fail at once and say nothing of the tests.
_ALIKE = [{"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}, {"BitOr", "BitAnd", "BitXor"}, {"RShift", "LShift"}]
_SENSELESS = ("Is", "IsNot")
_OTHER = (
    "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop",
)  # fmt: skip


def sensible(name):
    """Whether an operator of cosmic-ray makes a mutant that a test has to find."""
    kind, *change = name.removeprefix("core/").split("_")
    if kind == "ReplaceBinaryOperator":
        return any(set(change) <= alike for alike in _ALIKE)
    if kind == "ReplaceComparisonOperator":
        return set(change) == set(_SENSELESS) or not set(change) & set(_SENSELESS)
    return kind in _OTHER or (kind == "ReplaceUnaryOperator" and change[0] == "Delete")


@dataclass(frozen=True)
class Mutant:
    """One change of one line: `line` (from 1) reads `before` in the source and `after` in the mutant."""

    line: int
    before: str
    after: str
    source: str


def _passive(source):
    """Spans ((line, column), (line, column)) of annotations and decorators, which change nothing that is computed."""
    nodes = []
    for node in ast.walk(ast.parse(source)):
        nodes += getattr(node, "decorator_list", [])
        nodes += [getattr(node, name, None) for name in ("annotation", "returns")]
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if isinstance(n, ast.AST)]


def sample(source, n, seed):
    """Return at most n mutants, no two at one place.

    Places, and the one mutant of each, are those of the smallest hash of the seed and their own line: an edit elsewhere
    in the file leaves the sample as it is.
    """
    tree, passive, lines, places = get_ast(source), _passive(source), source.splitlines(), {}
    for name in filter(sensible, operator_names()):
        operator = get_operator(name)()
        spots = (start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        for occurrence, (row, column) in enumerate(spots):
            # A bare star among parameters is no product.
            bare = lines[row - 1][column:].startswith("*,")
            if not bare and not any(low <= (row, column) < high for low, high in passive):
                rank = sha256(f"{seed}|{lines[row - 1]}|{column}|{name}|{occurrence % 2}".encode()).hexdigest()
                places.setdefault((row, column), []).append((rank, name, occurrence))
    chosen = sorted(min(found) for found in places.values())[:n]
    return [_mutant(source, name, occurrence) for _, name, occurrence in chosen]


def _mutant(source, name, occurrence):
    changed = mutate_code(source, get_operator(name)(), occurrence)
    pairs = zip(source.splitlines(), changed.splitlines(), strict=True)
    line, (before, after) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    return Mutant(line, before.strip(), after.strip(), changed)
