"""Tables of what there is, as Markdown: what `mmcell list KIND --markdown` prints and the README holds between marks.

``python -m mmcell.report.tables README.md`` writes every table again that stands between ``<!-- mmcell list KIND
--markdown -->`` and ``<!-- end of list -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmcell.data.entry import entry_of
from mmcell.encoders.base import PREFIXES
from mmcell.errors import MmcellError, did_you_mean
from mmcell.metrics.base import Metric
from mmcell.registry import load_attribute
from mmcell.report.cards import WORDS, bounds_of, chance_of, first_line, registries, words_of

END = "<!-- end of list -->"
_BLOCK = re.compile(r"<!-- mmcell list ([a-z-]+) --markdown -->\n.*?" + re.escape(END), flags=re.DOTALL)
#: Packages whose entry points ship with mmcell.
_OWN = ("mmcell", "mmcell_tasks")


def _of_task(name: str, found: Any) -> tuple[str, ...]:
    spec = found.spec
    data = f"`{spec.dataset}`" if spec.dataset else "yours"
    return f"`{name}`", spec.question, data, f"`{spec.primary}`", f"`{spec.reference}`"


def _of_dataset(name: str, found: Any) -> tuple[str, ...]:
    entry = entry_of(found)
    return f"`{name}`", entry.about, entry.origin.replace("NAME", name), entry.licence


def _of_encoder(name: str, found: Any) -> tuple[str, ...]:
    fitted = "training units" if callable(getattr(found, "fit", None)) else ""
    return f"`{name}`", first_line(found), fitted, ", ".join(getattr(found, "packages", ()))


def read_by(found: Any) -> str:
    """Return what a patient encoder reads of cells, such as "embedding, types"."""
    if not getattr(found, "reads_cells", True):
        return "a file"
    if getattr(found, "reads_niche", False):
        return "cells around cells"
    sources = (("embedding", found.reads_embedding), ("types", getattr(found, "reads_types", False)))
    return ", ".join(source for source, is_read in sources if is_read)


def learnt_by(found: Any) -> str:
    """Return what a patient encoder learns from of training patients: "cells", "cells, labels" or ""."""
    if getattr(found, "supervised", False):
        return "cells, labels"
    # The mark of `mmcell.patients.base.learns_nothing`.
    return "cells" if getattr(found.fit, "learns", True) else ""


def _of_patient_encoder(name: str, found: Any) -> tuple[str, ...]:
    return f"`{name}`", first_line(found), read_by(found), learnt_by(found)


def _of_correction(name: str, found: Any) -> tuple[str, ...]:
    rows = "all rows, held-out ones, too" if getattr(found, "transductive", False) else "training rows"
    return f"`{name}`", first_line(found), rows


def _of_model(name: str, found: Any) -> tuple[str, ...]:
    return f"`{name}`", found.about, found.level, f"`{' '.join(filter(None, (found.ending, found.key)))}`"


def _of_metric(name: str, found: Metric) -> tuple[str, ...]:
    about = found.about or first_line(found.fn)
    better = "higher" if found.higher_is_better else "lower"
    return f"`{name}`", about, ", ".join(found.kinds), better, chance_of(found), bounds_of(found), found.source


#: Kind -> the heads of its columns, and what makes a row.
_TABLES: Mapping[str, tuple[tuple[str, ...], Callable[[str, Any], tuple[str, ...]]]] = MappingProxyType(
    {
        "tasks": (("task", "question", "dataset", "headline", "less"), _of_task),
        "datasets": (("dataset", "what", "from", "licence"), _of_dataset),
        "encoders": (("encoder", "what", "fitted on", "computed by"), _of_encoder),
        "patient-encoders": (("patient encoder", "a patient is", "reads", "learns from training"), _of_patient_encoder),
        "models": (("model", "what", "level", "file"), _of_model),
        "corrections": (("correction", "what", "fitted on"), _of_correction),
        "metrics": (("metric", "what", "of", "better", "chance", "bounds", "source"), _of_metric),
    }
)


def markdown_table(kind: str, *, shipped: bool = False) -> str:
    """Return one kind of thing as a Markdown table, a row a name, each made of the thing itself.

    Parameters
    ----------
    kind
        ``tasks``, ``datasets``, ``encoders``, ``patient-encoders``, ``models``, ``corrections``, ``metrics``,
        ``probes`` or ``controls``.
    shipped
        Leaves out what plug-ins have added.

    Returns
    -------
    str
        Lines without the last line break. Tasks stand by their protocol, everything else by its name.

    Raises
    ------
    MmcellError
        There is no such kind.
    """
    if kind in WORDS:
        lines = [(f"`{name}`", line) for name, line in words_of(kind).items()]
        return _markdown((kind.removesuffix("s"), "what"), lines)
    if kind not in _TABLES:
        raise MmcellError(f"there is no list of {kind!r}; {did_you_mean(kind, [*_TABLES, *WORDS])}")
    heads, row = _TABLES[kind]
    registry = registries()[kind]
    names = [n for n in registry.names() if not shipped or _is_shipped(registry.references[n])]
    things = {name: registry.get(name) for name in names}
    if kind == "encoders":
        things |= {f"{prefix}:MODEL": load_attribute(reference) for prefix, reference in PREFIXES.items()}
        names += things.keys() - set(names)
    if kind == "tasks":
        names.sort(key=lambda name: (type(things[name]).__module__, name))
    return _markdown(heads, [row(name, things[name]) for name in names])


def write_tables(path: Path) -> list[str]:
    """Write every marked table of a Markdown file again, of what ships with mmcell, and return their kinds.

    Raises
    ------
    MmcellError
        The file is not readable, has no marked table, or one of an unknown kind.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MmcellError(f"{path}: cannot be read ({error.strerror}); give a Markdown file") from error
    found: list[str] = []

    def again(block: re.Match[str]) -> str:
        found.append(block[1])
        return f"<!-- mmcell list {block[1]} --markdown -->\n{markdown_table(block[1], shipped=True)}\n{END}"

    changed = _BLOCK.sub(again, text)
    if not found:
        mark = f"<!-- mmcell list tasks --markdown --> and {END}"
        raise MmcellError(f"{path}: holds no table to be written; put {mark} around one")
    if changed != text:
        path.write_text(changed, encoding="utf-8")
    return found


def _is_shipped(reference: Any) -> bool:
    return not isinstance(reference, str) or reference.partition(":")[0].partition(".")[0] in _OWN


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in texts) + " |" for texts in lines)


def _cell(text: str) -> str:
    # A bar would end the cell; reStructuredText's literals are Markdown's code.
    return text.replace("``", "`").replace("|", "\\|").replace("\n", " ")


def main(arguments: Sequence[str]) -> int:
    """Write the tables of the files that are named, and say which."""
    if not arguments:
        print("usage: python -m mmcell.report.tables README.md", file=sys.stderr)
        return 2
    for name in arguments:
        try:
            print(f"{name}: {', '.join(write_tables(Path(name)))}")
        except MmcellError as error:
            print(f"mmcell: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
