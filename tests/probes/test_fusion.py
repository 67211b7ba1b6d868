import json

import numpy as np
import pytest

from mmcell.metrics.survival import harrell_c
from mmcell.probes import fusion
from mmcell.probes.fusion import fit_fusion, out_of_fold, voice_of
from mmcell.probes.inputs import COVARIATES, Block, Patients
from mmcell.probes.partial_likelihood import newton_cox


def cohort(n=120, seed=0, noise=30, effect=1.5, beside=False):
    """A narrow block that tells who dies, and a wide one of noise."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n, 2))
    blocks = {"signal": Block(signal), "noise": Block(rng.normal(size=(n, noise)))}
    time = rng.exponential(np.exp(-effect * signal[:, 0])) + 0.01
    age = Block(rng.normal(size=(n, 1)), ("age",)) if beside else None
    return Patients(blocks, age), time, (rng.random(n) < 0.8).astype(int)


def fitted(patients, time, event, seed=0):
    return fit_fusion(patients, time, event, np.random.default_rng(seed))


def test_in_sample_fusion_would_be_fooled_by_a_wide_block_of_noise():
    fused, naive = [], []
    for seed in range(8):
        patients, time, event = cohort(90, seed)
        fused.append(list(fitted(patients, time, event).facts["weights"].values()))
        rng = np.random.default_rng(0)
        seen = np.column_stack([voice_of(b, time, event, rng)(b) for b in patients.apart().values()])
        naive.append(newton_cox(seen, time, event, 0.01))
    fused, naive = np.mean(fused, axis=0), np.mean(naive, axis=0)
    # What models say of patients that they know makes the noise as good as the signal, or nearly.
    assert naive[1] > 0.4
    assert abs(fused[1]) < 0.15
    assert fused[0] > 0.4


def test_no_risk_of_a_patient_that_its_model_has_seen_is_fused(monkeypatch):
    patients, time, event = cohort(60)
    seen = []

    def spy(block, t, e, rng):
        made = voice_of(block, t, e, rng)
        seen.append(t)

        class Spoken:
            def __call__(self, held):
                first = next(iter(held.blocks.values())).values
                known = next(iter(block.blocks.values())).values
                assert not (first[:, None] == known[None]).all(axis=2).any()
                return made(held)

        return Spoken()

    monkeypatch.setattr(fusion, "voice_of", spy)
    out_of_fold(patients.apart(), time, event, np.random.default_rng(0))
    # Five folds of two blocks, each without its own.
    assert [len(t) for t in seen] == [48] * 10


def test_out_of_fold_risks_of_noise_know_nothing():
    found = []
    for seed in range(6):
        patients, time, event = cohort(100, seed, effect=0.0)
        risks = out_of_fold(patients.apart(), time, event, np.random.default_rng(0))
        found.append([harrell_c(time, event, r) for r in risks.T])
    assert np.abs(np.mean(found, axis=0) - 0.5).max() < 0.06


def test_the_risk_is_the_weighted_sum_of_what_the_blocks_say():
    patients, time, event = cohort(beside=True)
    model = fitted(patients, time, event)
    assert list(model.facts["weights"]) == ["signal", "noise", COVARIATES]
    spoken = [voice(patients.apart()[name]) for name, voice in model.voices.items()]
    np.testing.assert_allclose(model.risk(patients), model.weights @ spoken)
    # In units of the training patients' risks, of models of all of them.
    np.testing.assert_allclose(np.std(spoken, axis=1, ddof=1), 1)
    json.dumps(model.facts)


def test_two_blocks_that_tell_are_better_than_either():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300, 3))
    time, event = rng.exponential(np.exp(-a[:, 0] - b[:, 0])) + 0.01, np.ones(300, int)
    c = []
    for blocks in ({"a": Block(a)}, {"b": Block(b)}, {"a": Block(a), "b": Block(b)}):
        patients = Patients(blocks)
        train, test = np.arange(150), np.arange(150, 300)
        model = fitted(patients.rows(train), time[train], event[train])
        c.append(harrell_c(time[test], event[test], model.risk(patients.rows(test))))
    assert c[2] > max(c[:2]) + 0.03


def test_a_block_that_does_not_vary_says_nothing():
    patients, time, event = cohort(60)
    flat = Patients({**patients.blocks, "flat": Block(np.ones((60, 4)))})
    model = fitted(flat, time, event)
    assert model.facts["blocks"]["flat"] == {"penalty": None, "dims": 0}
    assert model.facts["weights"]["flat"] == 0
    assert np.isfinite(model.risk(flat)).all()


def test_few_events_are_refused(refused):
    patients, time, _ = cohort(60)
    with refused("late fusion: 3 events among 60 training patients", "4 or more"):
        fitted(patients, time, (np.arange(60) < 3).astype(int))
    with refused("1 event among 60"):
        fitted(patients, time, (np.arange(60) < 1).astype(int))


@pytest.mark.parametrize("events", [4, 6])
def test_so_few_are_enough(events):
    patients, time, _ = cohort(40)
    assert np.isfinite(fitted(patients, time, (np.arange(40) < events).astype(int)).risk(patients)).all()
