"""Spatial transcriptomics: sections of tissue as one dataset of spots with expression and image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mmcell.data.sections import read_section
from mmcell.errors import MmcellError, first
from mmcell.modalities import join
from mmcell.roles import SectionCard

if TYPE_CHECKING:
    from mudata import MuData


def read_sections(sections: Mapping[str, SectionCard], side: int, folder: Path) -> tuple[MuData, tuple[str, ...]]:
    """Read sections as one dataset of spots with the modalities ``rna`` and ``image``.

    Parameters
    ----------
    sections
        Name -> its files and facts.
    side
        Pixels of the tile around a spot.
    folder
        Paths in `sections` are relative to it.

    Returns
    -------
    data : MuData
        ``rna`` (counts; genes that every section measured) and ``image`` (tiles, bytes), rows ``SECTION:SPOT``;
        ``obs`` holds ``section``, the facts and annotations; ``obsm["spatial"]`` of ``rna`` the pixels of a spot.
    caveats
        In words, which spots and genes were left out.

    Raises
    ------
    MmcellError
        What `mmcell.data.sections.read_section` refuses, no gene in common, or images of different layout.
    """
    import anndata as ad

    counts, images, about = [], [], []
    caveats: list[str] = []
    layouts: list[dict[str, Any]] = []
    for name, section in sections.items():
        spots = read_section(name, section, side, folder)
        ids = name + ":" + spots.counts.obs_names.astype(str)
        rna = ad.AnnData(spots.counts.X, obs=pd.DataFrame(index=ids), var=pd.DataFrame(index=spots.counts.var_names))
        rna.obsm["spatial"] = spots.counts.obsm["spatial"]
        image = ad.AnnData(spots.image.X, obs=pd.DataFrame(index=ids), var=pd.DataFrame(index=spots.image.var_names))
        counts.append(rna)
        images.append(image)
        about.append(spots.counts.obs.set_axis(pd.Index(ids), axis=0).assign(section=name, **section.facts))
        caveats += spots.caveats
        layouts.append(dict(spots.image.uns["image"]))
        if layouts[-1] != layouts[0]:
            one, other = (f"{of['shape']} ({first(of['channels'])})" for of in (layouts[-1], layouts[0]))
            raise MmcellError(
                f"section {name!r}: its images are {one}, and those before it {other}; bring all sections to one size "
                "and the same channels"
            )
    genes = counts[0].var_names
    for other in counts[1:]:
        genes = genes[genes.isin(other.var_names)]
    if not len(genes):
        raise MmcellError(f"sections {first(list(sections))}: no gene is in all of them; check how genes are called")
    every = {g for part in counts for g in part.var_names}
    if len(every) > len(genes):
        caveats.append(f"{len(every) - len(genes)} of {len(every)} genes were not counted in every section: left out.")
    rna = ad.concat([part[:, genes] for part in counts])
    image = ad.concat(images)
    image.uns["image"] = layouts[0]
    return join({"rna": rna, "image": image}, pd.concat(about)), tuple(caveats)
