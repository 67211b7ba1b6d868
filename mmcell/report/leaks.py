"""What the leaks of a record come to, in the plain words of a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.records import Finding
from mmcell.report.words import counted

#: What a leak says of the embedding itself.
_OWN = {
    "knows-the-batch": "knows the batch",
    "technical-retention": "gives away how patients were measured",
    "pretraining-overlap": "was pretrained on these data",
}
#: What alone tells the label.
_TELLS = {
    "cell-count-leak": "the number of cells",
    "technical-covariate-leak": "a covariate of the measurement",
    "technical-jointly": "the measurement",
    "technical-leak": "the measurement",
    "label-from-batch": "the batch",
}
#: What else it says of the data and their split, under which a score means less.
_DATA = {
    "batch-label": "the label goes with the batch",
    "covariate-tells-outcome": "a clinical covariate nearly is the outcome",
    "unit-crosses-split": "units stand on both sides of the split",
}


def codes(findings: Sequence[Finding]) -> list[str]:
    """Return the codes of leaks, each once, in their order."""
    return list(dict.fromkeys(f.code for f in findings if f.severity == "leak"))


def also(findings: Sequence[Finding]) -> str:
    """Say what else explains the score of a record: "It also knows the batch. The number of cells alone …".

    Returns
    -------
    str
        One or two sentences; "" without a leak. A leak that has no words here is counted, never left out.
    """
    found = codes(findings)
    own, tell, data = ([words[c] for c in words if c in found] for words in (_OWN, _TELLS, _DATA))
    if tell:
        data.insert(0, f"{' or '.join(dict.fromkeys(tell))} alone tells the label")
    unnamed = [c for c in found if c not in _OWN | _TELLS | _DATA]
    if unnamed:
        data.append(f"{counted(len(unnamed), 'more leak')} ({', '.join(unnamed)})")
    said = [f"It also {_and(own)}."] if own else []
    if data:
        text = f"{_and(data)}."
        said.append(text[0].upper() + text[1:])
    return " ".join(said)


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
