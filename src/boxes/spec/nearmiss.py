"""Which known field a misspelt one may mean. Imported only once a document holds an unknown name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SHORTEST = 5
LONGEST = 40


def meant(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that `name` differs from by case only, or by a slip (two if it has 8 letters or more)."""
    if len(name) > LONGEST:
        return None
    lower = name.lower()
    names = list(known)
    for other in names:
        if other.lower() == lower:
            return other
    if len(name) < SHORTEST:
        return None
    slips = 1 if len(name) < 8 else 2
    near = [(slips_between(lower, other.lower()), other) for other in names if abs(len(other) - len(name)) <= slips]
    best = min(near, default=(slips + 1, ""))
    return best[1] if best[0] <= slips else None


def slips_between(one: str, other: str) -> int:
    """How many slips turn one word into the other: a letter left out, added, replaced, or two neighbours swapped."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before = before, row
        row = [i]
        for j, target in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != target))
            if i > 1 and j > 1 and letter == other[j - 2] and target == one[i - 2]:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]
