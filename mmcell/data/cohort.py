"""A user's own cohort: one data file and one YAML card."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcell.data.download import known_digest
from mmcell.data.lazy import names_of, open_lazily, open_modalities
from mmcell.dataset import Dataset
from mmcell.digest import digest, digest_file
from mmcell.distrust import checked, reading
from mmcell.document import read_yaml
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.features import with_table
from mmcell.matrix import opened
from mmcell.modalities import not_pulling
from mmcell.readers import existing, read_table
from mmcell.roles import CohortCard, DatasetCard, parse

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from mmcell.matrix import Matrix


def read_cohort(path: str | Path) -> Dataset:
    """Read a user's own cohort from its YAML card.

    Parameters
    ----------
    path
        The card; ``data`` in it names an ``.h5ad``, ``.h5mu`` or AnnData ``.zarr``, relative to the card; ``tables``
        and ``sections`` name the files of `mmcell.data.profiles` and `mmcell.data.spots`.

    Raises
    ------
    MmcellError
        An unknown key, a missing file, a role that names a column which is not there.
    """
    card_path = Path(path)
    card = read_card(card_path)
    data, disk, files, left_out = _read(card, card_path.parent)
    roles = card.roles
    if card.tables:
        from mmcell.data.activity import with_activity

        roles, about = with_activity(data, roles)
        left_out = (*left_out, *([about] if about else []))
    names = list(data.mod) if hasattr(data, "mod") else [card.modality]
    stated = card.preprocessing if isinstance(card.preprocessing, dict) else dict.fromkeys(names, card.preprocessing)
    unknown = sorted(set(stated) - set(names))
    if unknown:
        raise MmcellError(
            f"{card_path}: preprocessing names the modality {unknown[0]!r}, which is not in "
            f"{first([f.name for f in files])}; {did_you_mean(unknown[0], names)}"
        )
    modalities: dict[str, dict[str, Any]] = {
        n: {"preprocessing": stated.get(n, "values"), "identifiers": "other"} for n in names
    }
    if "rna" in modalities:
        modalities["rna"] |= {"identifiers": card.identifiers, "gene_columns": card.gene_columns}
    elif card.gene_columns or ("identifiers" in card.model_fields_set and card.identifiers != "other"):
        about = "gene_columns" if card.gene_columns else "identifiers"
        raise MmcellError(
            f"{card_path}: {about} is about genes, and there is no modality 'rna' ({first(names)}); leave it out, or "
            "say modality: rna"
        )
    if card.genes is not None:
        _add_genes(data, card, existing(card_path.parent / card.genes), modalities)
    facts = {k: getattr(card, k) for k in ("description", "source", "licence", "level", "time_unit", "concepts")}
    for concept, markers in card.concepts.items():
        for modality in markers:
            if modality not in names:
                raise MmcellError(
                    f"{card_path}: the concept {concept!r} names the modality {modality!r}; "
                    f"{did_you_mean(modality, names)}"
                )
    facts["caveats"] = (*card.caveats, *left_out)
    name = card.name or card_path.stem
    dataset_card = parse(DatasetCard, {"name": name, "modalities": modalities, **facts}, str(card_path))
    # Refused before anything is written: the digest of a file that stays on disk is recorded beside it.
    found = Dataset(name, data, roles, dataset_card, "not yet known", str(card_path.resolve()), disk)
    if card.backed and files[0].is_file():
        content = [known_digest(files[0], changed="record")]
    else:
        content = [_content(f) for f in files]
    content += [_content(card_path.parent / card.genes)] if card.genes else []
    fingerprint = digest(content, card.model_dump(mode="json"))
    return replace(found, fingerprint=fingerprint)


def _read(
    card: CohortCard, folder: Path
) -> tuple[AnnData | MuData, dict[str, Matrix], list[Path], tuple[str, ...]]:  # fmt: skip
    """Return the data of a card, values that stay on disk, the files they came from, and in words what was left out."""
    if card.tables:
        from mmcell.data.profiles import read_profiles

        profiles, left_out = read_profiles(card.tables, folder)
        return profiles, {}, [folder / t.file for t in card.tables.values()], left_out
    if card.sections:
        from mmcell.data.spots import read_sections

        spots, left_out = read_sections(card.sections, card.side, folder)
        return spots, {}, [folder / file for section in card.sections.values() for file in section.files], left_out
    file = existing(folder / str(card.data))
    if not card.backed and card.layer == "X":
        return read_data(file), {}, [file], ()
    if file.suffix == ".h5mu":
        return *open_modalities(file), [file], ()
    bare, values = open_lazily(file, card.layer)
    if not card.backed:
        bare.X = values[:]
    return bare, {card.modality: values} if card.backed else {}, [file], ()


def _content(path: Path) -> Any:
    """Return the digest of a file, or of a folder (``.zarr``) the name and digest of every file in it."""
    if path.is_file():
        return digest_file(path)
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return [[f.relative_to(path).as_posix(), digest_file(f)] for f in files]


def read_card(path: Path) -> CohortCard:
    """Read the YAML card of a cohort, not its data.

    Raises
    ------
    MmcellError
        No such file, invalid YAML, an unknown key.
    """
    found: CohortCard = parse(CohortCard, read_yaml(path), str(path))
    return found


def _add_genes(data: AnnData | MuData, card: CohortCard, table: Path, modalities: dict[str, dict[str, Any]]) -> None:
    """Put the table of genes beside the genes of the modality ``rna``."""
    if "rna" not in modalities:
        raise MmcellError(f"{table}: genes are given, and there is no modality 'rna' ({first(modalities)})")
    part = data.mod["rna"] if hasattr(data, "mod") else data
    part.var = with_table(part.var, read_table(table), card.identifiers, str(table))
    other = "ensembl" if card.identifiers == "symbol" else "symbol"
    modalities["rna"]["gene_columns"] = {**card.gene_columns, other: other}


def read_data(path: Path) -> AnnData | MuData:
    """Return what an ``.h5ad``, ``.h5mu`` or AnnData ``.zarr`` holds; raises on another ending or a broken file."""
    import anndata as ad

    if path.suffix in (".h5ad", ".zarr", ".h5mu"):
        checked(existing(path))
    with reading(path), warnings.catch_warnings():
        # They are refused, or become a finding.
        warnings.filterwarnings("ignore", message="Observation names are not unique")
        match path.suffix:
            case ".h5ad":
                return ad.read_h5ad(path)
            case ".zarr":
                return ad.read_zarr(path)
            case ".h5mu":
                import mudata

                with opened(path) as root:
                    names_of(root, path)
                with not_pulling():
                    return mudata.read_h5mu(path)
    raise MmcellError(f"{path}: the ending {path.suffix!r} is not one of .h5ad, .h5mu, .zarr")
