"""Whether a model was pretrained on the cohort that it is evaluated on, by its card."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mmcell.document import read_yaml
from mmcell.embedding import ModelCard
from mmcell.records import Finding
from mmcell.roles import parse


def seen(card: ModelCard, dataset: str, texts: Iterable[str] = ()) -> list[str]:
    """Return the entries of a pretraining manifest that name a dataset, whatever the case.

    Parameters
    ----------
    card
        Of the model.
    dataset
        Its name, which an entry may hold as a whole word, or the other way round.
    texts
        What else names it, such as its source: an entry with a digit in it, as accessions have, may stand there.
    """
    named = [e for e in card.pretraining_datasets if _word(e, dataset) or _word(dataset, e)]
    cited = [e for e in card.pretraining_datasets if re.search(r"\d", e) and any(_word(e, text) for text in texts)]
    return list(dict.fromkeys([*named, *cited]))


def _word(word: str, text: str) -> bool:
    plain = word.strip().casefold()
    return bool(plain) and re.search(rf"(?<![\w-]){re.escape(plain)}(?![\w-])", text.casefold()) is not None


def overlap_findings(cards: Iterable[ModelCard], dataset: str, texts: Iterable[str] = ()) -> list[Finding]:
    """Return a leak for each model that has seen the dataset.

    Parameters
    ----------
    cards
        Of the models.
    dataset
        Its name.
    texts
        What else names it.
    """
    found, texts = [], tuple(texts)
    for card in cards:
        entries = seen(card, dataset, texts)
        if entries:
            found.append(
                Finding(
                    severity="leak",
                    code="pretraining-overlap",
                    message=f"{card.name} was pretrained on {dataset}",
                    evidence=f"its manifest names {', '.join(entries)}",
                    cure="evaluate on a cohort that the model has not seen",
                )
            )
    return found


def card_of(name: str) -> ModelCard:
    """Return the card of an encoder, by its name or ``module:attribute``, or the one that a YAML file holds.

    Raises
    ------
    MmcellError
        There is no such encoder or file, or the file is no model card.
    """
    if not name.endswith((".yaml", ".yml")):
        from mmcell.encoders.base import make_encoder

        return make_encoder(name).card
    card: ModelCard = parse(ModelCard, read_yaml(Path(name)), name)
    return card
