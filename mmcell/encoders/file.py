"""Embeddings that come as files: what a config, or ``--encoder file:…``, says of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from mmcell.embedding import Embedding
from mmcell.encoders.foundation import RECIPES
from mmcell.errors import MmcellError, did_you_mean
from mmcell.memory import stamp_of
from mmcell.readers import existing

#: What was asked of a file, and of which state of it -> what was read.
_read: WeakValueDictionary[tuple[object, ...], Embedding] = WeakValueDictionary()


def read_file(given: Mapping[str, Any]) -> Embedding:
    """Read an embedding from ``file``; what ``model`` names says what is not given: key, name, level, modality, card.

    One that is in use already, of the same file, is not read again: it may be gigabytes, and several tasks ask for it.

    Raises
    ------
    MmcellError
        An unknown key or model; what `Embedding.read` refuses.
    """
    known = ("file", "model", "key", "name", "level", "modality")
    unknown = [k for k in given if k not in known]
    if unknown:
        raise MmcellError(
            f"encoder file {given['file']}: unknown key {unknown[0]!r}; {did_you_mean(unknown[0], known)}"
        )
    options: dict[str, Any] = {k: str(given[k]) for k in ("name", "level", "modality") if k in given}
    key = given.get("key")
    if "model" in given:
        recipe = RECIPES.get(str(given["model"]))
        usual = {"name": recipe.name, "level": recipe.level, "modality": recipe.modality, "card": recipe.card}
        options, key = {**usual, **options}, key or recipe.key_in(given["file"])
    path = existing(Path(given["file"]))
    asked = (path.resolve(), stamp_of(path), *sorted((k, str(v)) for k, v in given.items()))
    found = _read.get(asked)
    if found is None:
        found = Embedding.read(path, key, **options)
        if path.is_file():
            # What a folder holds may change while its own time stays.
            _read[asked] = found
    return found
