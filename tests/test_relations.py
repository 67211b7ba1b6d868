import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmcell import Dataset, Embedding, Roles
from mmcell.corrections import resolve_corrections
from mmcell.metrics.mechanism import known_relationship_recall, recalled
from mmcell.relations import Source, communities, gene_map, relations
from mmcell.roles import DatasetCard
from mmcell.stats.bootstrap import interval
from mmcell.stats.units import Units
from tests.toys import VALUES


def complexes(n_genes=60, size=4, d=20, *, effect=1.5, seed=0):
    """A map in which genes of one complex lie close, and all pairs within complexes."""
    rng = np.random.default_rng(seed)
    of = np.arange(n_genes) // size
    x = rng.normal(size=(n_genes, d)) + effect * rng.normal(size=(n_genes, d))[of]
    table = pd.DataFrame(x, index=[f"G{i:02d}" for i in range(n_genes)])
    a, b = np.triu_indices(n_genes, 1)
    inside = of[a] == of[b]
    return table, Source("CORUM", table.index.to_numpy(dtype=str)[np.stack([a, b], axis=1)[inside]])


def written(tmp_path, source, name="CORUM.txt"):
    pd.DataFrame(source.pairs, columns=["entity1", "entity2"]).to_csv(tmp_path / name, index=False)
    return tmp_path / name


def test_the_value_is_the_recall_of_all_pairs_in_the_map():
    table, source = complexes()
    (row,) = relations({"m": table}, [source], n_boot=200).to_dict("records")
    at = table.index.get_indexer(source.pairs.ravel()).reshape(-1, 2)
    assert row["value"] == pytest.approx(known_relationship_recall(table.to_numpy(), at))
    assert row["ci_low"] > row["chance"] == pytest.approx(0.10)
    assert row["n_pairs"] == row["n_annotated"] == len(source.pairs)
    assert row["n_genes"] == 60


def test_a_collapsed_map_is_at_chance_and_says_that_it_has_no_interval():
    table, source = complexes()
    (row,) = relations({"flat": table * 0 + 1.0}, [source], n_boot=100).to_dict("records")
    assert row["value"] == pytest.approx(0.10, abs=0.002)
    assert np.isnan(row["ci_low"])
    assert "no draw differs" in row["reason"]


def test_intervals_of_noise_hold_chance_though_genes_are_in_many_pairs():
    inside = 0
    for seed in range(60):
        table, source = complexes(80, 10, effect=0.0, seed=seed)
        (row,) = relations({"m": table}, [source], n_boot=200, seed=seed).to_dict("records")
        inside += row["ci_low"] <= 0.10 <= row["ci_high"]
    assert inside >= 52  # 57 of 60 in expectation


def test_draws_are_of_genes_and_not_of_pairs_where_there_is_one_group():
    # One complex of 40 genes of which half lie close: 780 pairs, but few genes carry what is found.
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 10))
    x[:15] += 4 * rng.normal(size=10)
    table = pd.DataFrame(x, index=[f"G{i:02d}" for i in range(80)])
    a, b = np.triu_indices(40, 1)
    source = Source("big", table.index.to_numpy(dtype=str)[np.stack([a, b], axis=1)])
    (row,) = relations({"m": table}, [source], n_boot=500).to_dict("records")
    of_pairs = 1.96 * np.sqrt(row["value"] * (1 - row["value"]) / len(source.pairs))
    assert row["ci_high"] - row["ci_low"] > 4 * of_pairs


def half_seen(seed=0, size=8):
    """Thirty complexes of which a map sees every other one, whole."""
    rng = np.random.default_rng(seed)
    of = np.arange(30 * size) // size
    x = rng.normal(size=(len(of), 20)) + 3 * (of % 2)[:, None] * rng.normal(size=(30, 20))[of]
    table = pd.DataFrame(x, index=[f"G{i:03d}" for i in range(len(of))])
    a, b = np.triu_indices(len(of), 1)
    inside = of[a] == of[b]
    return table, Source("CORUM", table.index.to_numpy(dtype=str)[np.stack([a, b], axis=1)[inside]]), of


def test_a_complex_is_one_observation():
    table, source, of = half_seen()
    (row,) = relations({"m": table}, [source], n_boot=1000).to_dict("records")
    assert row["n_groups"] == 30
    assert row["reason"] == ""
    # Of thirty complexes, equally large, a half is seen.
    at = table.index.get_indexer(source.pairs.ravel()).reshape(-1, 2)
    seen = pd.Series(recalled(table.to_numpy(), at)).groupby(of[at[:, 0]]).mean()
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * 1.96 * seen.std() / np.sqrt(30), rel=0.15)


def test_a_pair_counts_as_often_as_its_groups_are_drawn():
    table, source, _ = half_seen()
    rng = np.random.default_rng(1)
    between = np.sort(table.index.to_numpy(dtype=str)[rng.choice(len(table), (40, 2), replace=False)], axis=1)
    mixed = Source("mixed", np.unique(np.concatenate([source.pairs, between]), axis=0))
    (row,) = relations({"m": table}, [mixed], n_boot=200, seed=4).to_dict("records")
    at = table.index.get_indexer(mixed.pairs.ravel()).reshape(-1, 2)
    group = communities(len(table), at)
    assert len(np.unique(group)) == row["n_groups"]
    share = recalled(table.to_numpy(), at)
    names = [table.index[group == g][0] for g in range(row["n_groups"])]
    weights = Units.of(names).bootstrap(200, 4)
    draws = []
    for w in weights:
        # Every copy of a group with itself, and every copy of one with every copy of another.
        times = [w[group[a]] if group[a] == group[b] else w[group[a]] * w[group[b]] for a, b in at]
        draws.append(np.repeat(share, times).mean())
    low, high, _ = interval(row["value"], np.array(draws), without_each(share, group[at]))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))


def without_each(share, ends):
    return np.array([share[(ends != g).all(axis=1)].mean() for g in range(ends.max() + 1)])


def test_communities_are_complexes_and_are_numbered_as_they_come():
    # Two triangles, and a pair, far apart in number.
    pairs = np.array([[0, 4], [4, 6], [0, 6], [1, 2], [2, 5], [1, 5], [3, 7]])
    assert communities(8, pairs).tolist() == [0, 1, 1, 2, 0, 1, 0, 2]
    assert communities(8, pairs[::-1, ::-1]).tolist() == [0, 1, 1, 2, 0, 1, 0, 2]


def test_few_groups_are_told_and_genes_drawn():
    table, source = complexes(60, 20)
    (row,) = relations({"m": table}, [source], n_boot=200).to_dict("records")
    assert row["n_groups"] == 3
    assert "the genes form 3 groups: the interval is over genes" in row["reason"]
    (some,) = relations({"m": table}, [complexes(60, 4)[1]], n_boot=200).to_dict("records")
    assert some["n_groups"] == 15
    assert some["reason"] == "15 groups of genes: read the interval with care"


def test_maps_are_compared_on_the_genes_that_all_hold():
    table, source = complexes()
    worse = table.iloc[5:] + 5 * np.random.default_rng(0).normal(size=(55, 20))
    both = relations({"a": table, "b": worse}, [source], n_boot=200).set_index("map")
    alone = relations({"a": table.iloc[5:]}, [source], n_boot=200).set_index("map")
    assert both.loc["a", "value"] == alone.loc["a", "value"]
    assert both.loc["b", "difference"] == pytest.approx(both.loc["b", "value"] - both.loc["a", "value"])
    assert both.loc["b", "difference_high"] < 0
    assert np.isnan(both.loc["a", "difference"])


def test_the_tail_and_the_seed_change_what_they_should():
    table, source = complexes()
    first, wide, other = (relations({"m": table}, [source], n_boot=200, **k) for k in ({}, {"tail": 0.2}, {"seed": 1}))
    assert wide["value"].item() > first["value"].item() == other["value"].item()
    assert wide["chance"].item() == pytest.approx(0.4)
    assert other["ci_low"].item() != first["ci_low"].item()


def test_few_genes_have_no_interval_and_none_no_value():
    table, source = complexes()
    few = Source("few", source.pairs[:6])
    none = Source("none", np.array([["X", "Y"]]))
    rows = relations({"m": table}, [few, none], n_boot=100).set_index("source")
    assert rows["status"].tolist() == ["too_few_units", "undefined"]
    assert np.isfinite(rows.loc["few", "value"])
    assert np.isnan(rows.loc["none", "value"])


def test_a_source_keeps_each_pair_once(tmp_path):
    path = tmp_path / "SIGNOR.txt"
    path.write_text("entity1,entity2\nB,A\nA,B\nA,A\nB, C\nNA,B\n")
    source = Source.read(path)
    assert source.name == "SIGNOR"
    assert source.pairs.tolist() == [["A", "B"], ["B", "C"], ["B", "NA"]]
    assert source.n_left_out == 2


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("gene1,gene2\nA,B\n", ("has no column 'entity1'",)),
        ("entity1,entity2\nA,B\nA,\n", ("1 row lacks a name", "row 3")),
        ("entity1,entity2\nA,A\n", ("no pair of two genes",)),
        ("", ("x.txt",)),
    ],
)
def test_a_bad_source_is_one_line(text, pieces, tmp_path, refused):
    (tmp_path / "x.txt").write_text(text)
    with refused("x.txt", *pieces):
        Source.read(tmp_path / "x.txt")


@pytest.mark.parametrize(
    ("maps", "sources", "pieces"),
    [
        ({}, 1, ("at least one map",)),
        ({"m": lambda t: t}, 2, ("two sources are called 'CORUM'",)),
        (
            {"m": lambda t: pd.concat([t, t.iloc[:2]])},
            1,
            ("2 genes stand in several rows", "G00", "roles.perturbation"),
        ),
        ({"m": lambda t: t, "n": lambda t: t.iloc[:2]}, 1, ("share 2 genes",)),
    ],
)
def test_bad_maps_are_one_line(maps, sources, pieces, refused):
    table, source = complexes()
    with refused(*pieces):
        relations({name: f(table) for name, f in maps.items()}, [source] * sources, n_boot=100)


def screen(plate=0.0):
    """Four profiles a gene on two plates, and controls."""
    table, source = complexes()
    rng = np.random.default_rng(0)
    genes = np.concatenate([np.tile(table.index, 4), np.repeat("none", 80)])
    obs = pd.DataFrame({"gene": genes, "plate": np.where(np.arange(len(genes)) % 2, "p", "q")})
    obs.index = [f"w{i}" for i in range(len(obs))]
    x = table.reindex(genes).fillna(0).to_numpy() + rng.normal(size=(len(genes), 20))
    x[obs["plate"] == "p"] += plate * rng.normal(size=20)
    card = DatasetCard(name="screen", level="profile", modalities={"morphology": VALUES})
    roles = Roles(unit="gene", batch="plate", perturbation="gene", control="none")
    data = Dataset("screen", ad.AnnData(x.astype(np.float32), obs=obs), roles, card)
    return data, Embedding.from_array("e", data.ids, x, level="profile"), source


def test_profiles_become_a_map_of_genes_without_their_plates():
    data, profiles, source = screen()
    plain = gene_map(profiles, data)
    assert len(plain) == 60
    assert "none" not in plain.index
    expected = profiles.align(data.ids[(data.obs["gene"] == "G07").to_numpy()]).values.mean(axis=0)
    np.testing.assert_allclose(plain.loc["G07"], expected)
    data, profiles, source = screen(plate=6.0)
    (tvn,) = resolve_corrections("tvn")[1:]
    corrected = gene_map(profiles, data, tvn)
    maps = {"plain": gene_map(profiles, data), "tvn": corrected}
    rows = relations(maps, [source], n_boot=200).set_index("map")
    assert rows.loc["tvn", "difference_low"] > 0


def test_a_correction_needs_the_dataset(refused):
    _, profiles, _ = screen()
    (tvn,) = resolve_corrections("tvn")[1:]
    with refused("correction 'tvn'", "name the dataset"):
        gene_map(profiles, None, tvn)


def test_the_command_prints_a_row_a_source(tmp_path):
    table, source = complexes()
    table.to_csv(tmp_path / "map.csv", index_label="id")
    command = [
        sys.executable,
        "-m",
        "mmcell",
        "relations",
        "map.csv",
        "--source",
        "CORUM.txt",
        "--source",
        "S=CORUM.txt",
    ]
    written(tmp_path, source)
    found = subprocess.run([*command, "--n-boot", "200"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "CORUM" in found.stdout
    assert f"{len(source.pairs)} of {len(source.pairs)}" in found.stdout
    bad = subprocess.run(
        [*command, "--source", "absent.txt"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert bad.returncode == 2
    assert bad.stderr.count("\n") == 1
    assert "absent.txt" in bad.stderr
