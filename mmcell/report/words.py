"""How the report writes numbers, names and verdicts: plain words that claim no more than an interval allows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from mmcell.errors import noun
from mmcell.records import Gap, Score, Worst
from mmcell.strata import WITHIN

Outcome = Literal["better", "same", "worse", "few", "unknown"]

_METRICS = {
    "feature_pearson": "mean r over features",
    "feature_r2": "mean R² over features",
    "features_beyond": "share of features beyond chance",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "batch_predictability": "batch predictability",
    "batch_auroc": "batch AUROC",
    "spearman": "Spearman correlation",
    "mrr": "mean reciprocal rank",
    "harrell_c": "Harrell's C",
    "uno_c": "Uno's C",
    "ibs": "integrated Brier score",
    "cause_specific_c": "C with competing events",
    "td_auc": "integrated AUC over time",
    "brier": "Brier score",
    "brier@horizon": "Brier score at the horizon",
    "rmst_difference": "difference in restricted mean survival time",
    "calibration_intercept_error": "|calibration intercept|",
    "calibration_slope_error": "|calibration slope − 1|",
    "ici": "integrated calibration index",
    "d_calibration": "p of D-calibration",
    "ilisi": "iLISI",
    "kbet": "kBET",
    "bras": "BRAS",
    "clisi": "cLISI",
    "unshared_clisi": "cLISI of labels in one batch",
    "label_asw": "label ASW",
    "isolated_asw": "isolated label ASW",
    "isolated_f1": "isolated label F1",
    "nmi": "NMI",
    "ari": "ARI",
    "knn_balanced_accuracy": "balanced accuracy of neighbours",
    "knn_macro_f1": "macro-F1 of neighbours",
    "known_balanced_accuracy": "balanced accuracy of known labels",
    "unknown_auroc": "AUROC of unknown labels",
    "discrimination_cosine": "discrimination by cosine",
    "discrimination_specific": "discrimination by what is particular",
    "discrimination_l1": "discrimination by ℓ1",
    "discrimination_l2": "discrimination by ℓ2",
    "pearson_delta": "Pearson-Δ from controls",
    "pearson_delta_perturbed": "Pearson-Δ from the perturbed mean",
    "de_overlap": "overlap of changed genes",
    "de_overlap@50": "overlap of the 50 most changed genes",
    "de_direction": "share of right directions",
    "severity_spearman": "Spearman correlation with severity",
    "severity_p": "p of the order by severity among random signatures",
    "disease_auroc": "AUROC of the disease",
    "disease_p": "p of the AUROC among random signatures",
    "connectivity": "connectivity with the disease",
    "connectivity_p": "p of the connectivity among permuted patients",
    "reversal_rank": "rank of the reversing perturbation",
    "reversal_p": "p of that rank among permuted patients",
    "reversal@1": "reversing perturbation first",
    "combined_c": "C of covariates and response",
    "added_c": "C added to covariates",
    "strong_auroc": "AUROC of strong perturbations by predicted size",
    "strong_enrichment": "enrichment of strong perturbations in the first tenth",
}
#: Strata of the chain from perturbations to patients that are no single perturbation, in words.
CHAIN_STRATA = {"all": "the chosen perturbation", "disease itself": "the disease itself"}
#: Its metrics of where patients stand along a direction, and of what a perturbation does in patients' own cells.
ALONG = ("severity_spearman", "severity_p", "disease_auroc", "disease_p")
_DOES = ("connectivity", "connectivity_p")
CHAIN_METRICS = (*ALONG, *_DOES, "reversal_rank", "reversal@1", "combined_c", "added_c")
#: How a verdict begins that says nothing, for want of units.
_FEW = "too few"
_COVARIATES = {
    "n_items": "number of cells",
    "n_features": "number of detected features",
    "share_mito": "share of mitochondrial counts",
}
#: What the page explains where it shows it.
_EXPLAINED = {
    "versus": "verdicts", "unseen": "“needs”", "worst": "worst groups", "null": "the p of the null",
    "ceiling": "ceilings", "skill": "skill", "permuted": "permuted controls",
}  # fmt: skip
#: What is said of the leading candidate and its reference.
VERBS: dict[Outcome, str] = {
    "better": "is better than",
    "same": "cannot be told apart from",
    "worse": "is worse than",
    "few": "has too few units to be compared with",
    "unknown": "cannot be compared with",
}
SEVERITIES = {"leak": "Leak", "warning": "Warning", "info": "Note"}


def number(value: float | None, signed: bool = False) -> str:
    """Return a value with three decimals, or with two digits where three decimals would hide it; "–" for None.

    A value that is not a whole number is never rounded to one: 0.9997 stays 0.9997. `signed` is for differences.
    """
    if value is None:
        return "–"
    text = f"{value:.3f}"
    if 0 < abs(value) < (0.001 if signed else 0.01):
        text = f"{value:.2g}"
    elif float(text).is_integer() and value != float(text):
        text = f"{value:.6g}"
    if signed and value > 0:
        text = "+" + text
    return text.replace("-", "−")


def whole(value: float | None) -> str:
    """Return a count with thin spaces between thousands; "–" for None."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def time_of(value: float, unit: str = "") -> str:
    """Return a time with three digits, never as a power of ten, and its unit: "1.79", "257 days", "1 790 days"."""
    return f"{whole(float(f'{value:.3g}')) if abs(value) >= 1000 else f'{value:.3g}'} {unit}".rstrip()


def counted(n: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{whole(n)} {noun(n, what)}"


def bracket(low: float | None, high: float | None, signed: bool = False) -> str:
    """Return an interval for a table, "" when there is none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, signed)}, {number(high, signed)}]"


def metric_name(name: str) -> str:
    """Return what a reader calls a metric."""
    return _METRICS.get(name, name.replace("_", " "))


def heading(text: str) -> str:
    """Return text with a capital at its beginning, the rest as it is; a name like iLISI stays as it is written."""
    word = text.partition(" ")[0]
    return text if word[1:] != word[1:].lower() else text[:1].upper() + text[1:]


def plain(text: str) -> str:
    """Return text on one line, without characters that SVG cannot hold."""
    kept = (c if c.isprintable() or c.isspace() else "\ufffd" for c in text)
    return " ".join("".join(kept).split())


def place_name(score: Score) -> str:
    """Name the panel of a score: its split, its direction, and its gallery or group."""
    parts = [score.split]
    if score.query:
        parts.append(f"{score.query} → {score.gallery}")
        everything = "all items" if score.target in ("features", "effect") else "global gallery"
        parts.append(everything if score.stratum == "all" else f"within {score.stratum.replace('×', ' × ')}")
    elif score.stratum.startswith(WITHIN):
        parts.append(score.stratum)
    elif score.metric in ALONG:
        parts.append(f"along {CHAIN_STRATA.get(score.stratum, score.stratum)}")
    elif score.metric in _DOES:
        parts.append(f"what {score.stratum} does")
    elif score.stratum != "all":
        parts.append(f"{score.stratum} held out" if score.shift else score.stratum)
    target, is_value, value = score.target.partition("=")
    if score.asked:
        parts.append(score.asked)
    if is_value:
        parts.append(f"{target} {value} against the rest")
    return " · ".join(filter(None, parts))


def split_in_words(spec: Mapping[str, Any]) -> str:
    """Say how units are held out."""
    by, n, repeats = spec.get("by"), spec.get("n_splits"), spec.get("repeats", 1)
    if spec.get("kind") == "leave-one-group-out":
        return f"every {by or 'group'} is held out once, as a whole"
    balanced = f", balanced by {by}" if by and str(spec.get("kind", "")).startswith("stratified") else ""
    again = f", drawn anew {repeats} times" if repeats and repeats > 1 else ""
    return f"units are held out in {n} folds{balanced}{again}"


def told(gap: Gap | None, higher_is_better: bool) -> Outcome:
    """Say what the interval of a difference allows to say."""
    if gap is None or gap.low is None or gap.high is None:
        return "unknown"
    if gap.low <= 0 <= gap.high:
        return "same"
    return "better" if (gap.low > 0) == higher_is_better else "worse"


def outcome(score: Score) -> Outcome:
    """Say what is known of a score beside the reference; a verdict that there are too few units comes first."""
    return "few" if score.verdict.startswith(_FEW) else told(score.difference, score.higher_is_better)


def unseen(gap: Gap | None) -> str:
    """Say how large a difference would have had to be; "" where one was found, or nothing is known of it."""
    if gap is None or gap.mde is None or told(gap, True) != "same":
        return ""
    return f"only {number(gap.mde)} or more would have shown in 80 % of such studies"


def group_name(worst: Worst) -> str:
    """Name the worst subgroup by what is grouped and which it is."""
    role = worst.role.replace("_", " ")
    return worst.name if worst.name.lower().startswith(role.lower()) else f"{role} {worst.name}"


def compared(worst: Worst) -> str:
    """Say how many groups a worst one was picked from, and how many were too small for that."""
    small = f" ({whole(worst.n_small)} more too small)" if worst.n_small else ""
    return f"worst of {whole(worst.n_groups)}{small}"


def null_in_words(score: Score) -> str:
    """Say what stands behind the p of the null: its permutations and their mean."""
    text = counted(score.n_null, "permutation")
    return text if score.null_mean is None else f"{text}, mean {number(score.null_mean)}"


def explained(present: Collection[str]) -> list[str]:
    """Name what the page explains, of what it shows."""
    return [text for name, text in _EXPLAINED.items() if name in present]


def covariate_name(name: str) -> str:
    """Return what a reader calls a covariate of the measurement."""
    return _COVARIATES.get(name, name.replace("_", " "))


def gap_in_words(score: Score) -> str:
    """Return the metric with its difference and interval, in a sentence's words; honest where there is no interval."""
    gap, name = score.difference, metric_name(score.metric)
    if gap is None or gap.value is None:
        return f"{name} has no difference from it"
    text = f"{name} {number(gap.value, signed=True)}"
    if gap.low is None or gap.high is None:
        return f"{text}, without an interval, so nothing is claimed"
    text = f"{text} (95 % interval {number(gap.low, signed=True)} to {number(gap.high, signed=True)})"
    return "; ".join(filter(None, (text, unseen(gap))))


def tally(outcomes: Sequence[Outcome], without_value: int = 0) -> str:
    """Count several candidates by what can be said of them; `without_value` more failed or are undefined."""
    one: dict[Outcome, tuple[str, str]] = {
        "better": ("is better", "are better"),
        "same": ("cannot be told apart from the reference", "cannot be told apart from the reference"),
        "worse": ("is worse", "are worse"),
        "few": ("has too few units to say", "have too few units to say"),
        "unknown": ("has no interval of its difference", "have no interval of their difference"),
    }
    n = len(outcomes) + without_value
    counts = [(outcomes.count(key), text) for key, text in one.items() if key in outcomes]
    counts += [(without_value, ("has no value", "have no value"))] if without_value else []
    if len(counts) == 1 and "same" in outcomes:
        none = "Neither candidate" if n == 2 else f"None of the {n} candidates"
        return f"{none} can be told apart from the reference."
    if len(counts) == 1:
        return f"{'Both' if n == 2 else f'All {n}'} candidates {counts[0][1][1]}."
    return f"Of {n} candidates, {', '.join(f'{k} {text[k > 1]}' for k, text in counts)}."


def any_of(names: Sequence[str], shown: int = 6) -> str:
    """Join names, the rest of a long list counted."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
