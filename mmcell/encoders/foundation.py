"""Foundation models that users run with the models' own tools: what each tool writes, and the card that goes with it.

mmcell reads the file and runs nothing. ``{file: cells.h5ad, model: scgpt}`` in a config takes the key, the level, the
modality and the card from here. `Recipe.checked` says where a fact was read; what could not be read stands there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmcell.embedding import ModelCard
from mmcell.registry import Registry

_HERE = "mmcell.encoders.foundation"
RECIPES = Registry(
    "model",
    "mmcell.models",
    {
        "scgpt": f"{_HERE}:SCGPT",
        "geneformer-file": f"{_HERE}:GENEFORMER",
        "uce": f"{_HERE}:UCE",
        "transcriptformer": f"{_HERE}:TRANSCRIPTFORMER",
        "state-se": f"{_HERE}:STATE_SE",
        "scfoundation": f"{_HERE}:SCFOUNDATION",
        "scfoundry": f"{_HERE}:SCFOUNDRY",
        "pulsar": f"{_HERE}:PULSAR",
        "eva-rna": f"{_HERE}:EVA_RNA",
        "m-optimus": f"{_HERE}:M_OPTIMUS",
    },
)


@dataclass(frozen=True)
class Recipe:
    """How the embedding of a model comes into a file, and what is known of the model.

    Attributes
    ----------
    name, about, url, licence
        Which model; the licence of code and weights as published.
    how
        What to run, and how the file gets its ids.
    ending, key
        Of the file, and where in an ``.h5ad`` the embedding stands; None for a table.
    level, modality
        Of the embedding.
    identifiers
        How the model's own tool wants genes to be called: ``symbol``, ``ensembl`` or ``any``.
    pretraining_datasets
        The pretraining manifest as published: data sets, or the collections that they were taken from.
    manifest
        What is not known of it.
    checked
        Where key and format were read, or that they could not be.
    closed
        Nobody outside can run the model.
    """

    name: str
    about: str
    url: str
    licence: str
    how: str
    ending: str = ".h5ad"
    key: str | None = None
    level: str = "cell"
    modality: str = "rna"
    identifiers: str = "any"
    pretraining_datasets: tuple[str, ...] = ()
    manifest: str = ""
    checked: str = ""
    closed: bool = False

    @property
    def card(self) -> ModelCard:
        """The card of an embedding that was read from such a file."""
        description = f"{self.about}; read from a file"
        return ModelCard(
            name=self.name,
            modality=self.modality,
            identifiers=self.identifiers,  # type: ignore[arg-type]
            pretraining_datasets=self.pretraining_datasets,
            licence=self.licence,
            url=self.url,
            description=f"{description}. Pretraining: {self.manifest}" if self.manifest else description,
            closed=self.closed,
        )

    def key_in(self, path: str | Path) -> str | None:
        """Return where the embedding stands in a file of this ending; None where a file holds nothing else."""
        ending = Path(path).suffix
        if self.key is None or ending not in (".h5ad", ".zarr", ".h5mu"):
            return None
        return f"{self.modality}/{self.key}" if ending == ".h5mu" else self.key


_UNLISTED = "single data sets are not listed here, so an overlap with the cohort is not found by name"

SCGPT = Recipe(
    name="scgpt",
    about="scGPT (Cui et al., Nature Methods 2024), the cell token of a generative transformer",
    url="https://github.com/bowang-lab/scGPT",
    licence="MIT (code); weights as published",
    how=(
        "scgpt.tasks.embed_data(adata, CHECKPOINT_FOLDER, gene_col='index', return_new_adata=False), and save what it\n"
        "returns with write_h5ad: obs_names are kept. With return_new_adata=True the embedding is X and obs_names are\n"
        "lost: set them again, and give key: X. Say which checkpoint it was in the name (whole-human, blood, …)."
    ),
    key="obsm/X_scGPT",
    identifiers="symbol",
    pretraining_datasets=("CELLxGENE",),
    manifest=f"33 million normal human cells (whole-human); {_UNLISTED}",
    checked="scgpt/tasks/cell_emb.py and README of the repository",
)
GENEFORMER = Recipe(
    name="geneformer-file",
    about="Geneformer (Theodoris et al., Nature 2023) as its EmbExtractor writes it",
    url="https://huggingface.co/ctheodoris/Geneformer",
    licence="Apache-2.0",
    how=(
        "Tokenise with the ids of cells as a custom attribute, and extract with EmbExtractor(emb_mode='cell',\n"
        "emb_label=['cell_id']), which writes a .csv. Move the ids to the front and drop the running number:\n"
        "pandas.read_csv(FILE, index_col=0).set_index('cell_id').to_csv(FILE). mmcell can also run the model itself:\n"
        "encoder geneformer."
    ),
    ending=".csv",
    identifiers="ensembl",
    pretraining_datasets=("Genecorpus-30M",),
    manifest="V1; later versions saw more (Genecorpus-104M)",
    checked="emb_extractor.py of the repository",
)
UCE = Recipe(
    name="uce",
    about="Universal Cell Embeddings (Rosen et al., bioRxiv 2023), genes by their proteins",
    url="https://github.com/snap-stanford/UCE",
    licence="MIT (code); weights as published",
    how=(
        "python eval_single_anndata.py --adata_path cells.h5ad --dir OUT/ --species human --model_loc WEIGHTS\n"
        "writes an .h5ad into OUT/ with obs_names kept. It wants counts in X and gene symbols as var_names, and its\n"
        "filter drops poor cells: take these out of the cohort too."
    ),
    key="obsm/X_uce",
    identifiers="symbol",
    pretraining_datasets=("CELLxGENE",),
    manifest=_UNLISTED,
    checked="README and eval_single_anndata.py of the repository",
)
TRANSCRIPTFORMER = Recipe(
    name="transcriptformer",
    about="TranscriptFormer (Pearce et al., bioRxiv 2025), a generative model over genes of up to 12 species",
    url="https://github.com/czi-ai/transcriptformer",
    licence="as published by its makers",
    how=(
        "Copy the ids into a column (adata.obs['cell_id'] = adata.obs_names), then transcriptformer inference\n"
        "--checkpoint-path DIR --data-file cells.h5ad --config-override model.inference_config.obs_keys.0=cell_id\n"
        "It writes inference_results/embeddings.h5ad with running numbers as obs_names: set obs_names to\n"
        "obs['cell_id'] and save. Counts, and var['ensembl_id'], are needed."
    ),
    key="obsm/embeddings",
    identifiers="ensembl",
    pretraining_datasets=("CELLxGENE",),
    manifest=f"57 (TF-Sapiens) to 112 million cells (TF-Metazoa); {_UNLISTED}",
    checked="README and src/transcriptformer/model/inference.py of the repository; licence and collections not checked",
)
STATE_SE = Recipe(
    name="state-se",
    about="State Embedding SE-600M (Adduri et al., bioRxiv 2025)",
    url="https://github.com/ArcInstitute/state",
    licence="CC BY-NC-SA 4.0 (code); Arc State Model Non-Commercial License (weights and output)",
    how=(
        "state emb transform --model-folder SE-600M --input cells.h5ad --output embedded.h5ad\n"
        "--embed-key sets another key than X_state: give it with key."
    ),
    key="obsm/X_state",
    manifest=f"not checked; {_UNLISTED}",
    checked="command line of the repository; the identifiers that it reads are not checked",
)
SCFOUNDATION = Recipe(
    name="scfoundation",
    about="scFoundation (Hao et al., Nature Methods 2024), 100 million parameters over 19,264 genes",
    url="https://github.com/biomap-research/scFoundation",
    licence="Apache-2.0 (code); weights under their own terms",
    how=(
        "python get_embedding.py --input_type singlecell --output_type cell --data_path cells.csv --save_path OUT/\n"
        "writes the embedding without ids, in the order of the rows. Give it ids:\n"
        "numpy.savez('cells.npz', ids=adata.obs_names.to_numpy(str), values=numpy.load(FILE)).\n"
        "From scFoundry's .h5ad the embedding is read as X."
    ),
    ending=".npz",
    identifiers="symbol",
    manifest=f"over 50 million human cells; {_UNLISTED}",
    checked="README and model/README.md of the repository; the ending .npy from pipelines that use it",
)
SCFOUNDRY = Recipe(
    name="scfoundry",
    about="an embedding that scFoundry wrote: any of the models that it runs in containers",
    url="https://pypi.org/project/scfoundry/",
    licence="that of the model",
    how=(
        "Its embedding workflow writes MODEL_embeddings.h5ad with the embedding in X and the cells' obs. Say which\n"
        "model it was (name: cellplm); where that model has its own entry here, give that entry and key: X."
    ),
    key="X",
    manifest="that of the model",
    checked="workflows of the wheel, version 0.2.1",
)
PULSAR = Recipe(
    name="pulsar",
    about="PULSAR (Pang et al., bioRxiv 2025), donors from sets of UCE cells",
    url="https://github.com/snap-stanford/PULSAR",
    licence="MIT (code); weights as published",
    how=(
        "Embed the cells with UCE, then pulsar.utils.extract_donor_embeddings_from_h5ad(h5ad_path=…, model=…,\n"
        "donor_id_key=UNIT), a mapping from donor to vector; write it as a table:\n"
        "pandas.DataFrame.from_dict({k: numpy.ravel(v) for k, v in found.items()}, orient='index').to_csv('donors.csv')"
    ),
    ending=".csv",
    level="patient",
    identifiers="symbol",
    manifest=f"36.2 million cells of 6,807 donors, then 8.8 million blood cells of 2,588; {_UNLISTED}",
    checked="README of the repository",
)
EVA_RNA = Recipe(
    name="eva-rna",
    about="EVA-RNA (Scienta Lab 2026), whole samples: bulk, microarray or pseudobulk, human and mouse",
    url="https://huggingface.co/ScientaLab/eva-rna",
    licence="Scienta Lab EVA Model License (gated)",
    how=(
        "Sum the counts of each donor (or take bulk samples), embed them with the model's own code, and write a .csv\n"
        "with the donors' ids in the first column. Of a dataset whose rows are samples, give level: sample."
    ),
    ending=".csv",
    level="patient",
    manifest=f"over 500,000 samples of immunology and inflammation; {_UNLISTED}",
    checked="model card and abstract; its code is gated, so neither its output nor its identifiers are checked",
)
M_OPTIMUS = Recipe(
    name="m-optimus",
    about="M-Optimus (Bioptimus), a multimodal model of histology and expression",
    url="https://www.bioptimus.com",
    licence="closed",
    how=(
        "Only its makers can run it. Write what they return as a .csv with the patients' ids in the first column.\n"
        "Nobody else can repeat these rows, and they are marked so."
    ),
    ending=".csv",
    level="patient",
    modality="multimodal",
    manifest="not published",
    checked="no tool or format is published",
    closed=True,
)
