import numpy as np
import pandas as pd

from mmcell.probes.design import ClinicalDesign

TRAIN = pd.DataFrame(
    {"age": [40.0, np.nan, 60.0, 50.0], "stage": ["I", "II", "I", "III"], "male": [True, False, True, True]}
)


def test_numbers_and_classes_become_columns():
    design = ClinicalDesign.fit(TRAIN)
    assert design.columns == ("age", "male", "stage=II", "stage=III")
    np.testing.assert_array_equal(
        design.transform(TRAIN), [[40, 1, 0, 0], [50, 0, 1, 0], [60, 1, 0, 0], [50, 1, 0, 1]]
    )  # fmt: skip


def test_what_is_missing_or_unseen_takes_what_was_learnt_in_training():
    new = pd.DataFrame({"age": [np.nan, 90.0], "stage": ["IV", None], "male": [False, True]})
    np.testing.assert_array_equal(ClinicalDesign.fit(TRAIN).transform(new), [[50, 0, 0, 0], [90, 1, 0, 0]])


def test_a_covariate_without_any_training_value_is_flat():
    design = ClinicalDesign.fit(TRAIN.assign(age=np.nan))
    np.testing.assert_array_equal(design.transform(TRAIN.assign(age=np.nan))[:, 0], np.zeros(4))


def test_categories_work_like_text():
    as_text = ClinicalDesign.fit(TRAIN)
    as_category = ClinicalDesign.fit(TRAIN.astype({"stage": "category"}))
    assert as_text.columns == as_category.columns
    np.testing.assert_array_equal(as_text.transform(TRAIN), as_category.transform(TRAIN.astype({"stage": "category"})))


def test_one_class_gives_no_column():
    design = ClinicalDesign.fit(pd.DataFrame({"stage": ["I", "I"]}))
    assert design.columns == ()
    assert design.transform(pd.DataFrame({"stage": ["I", "II", "I"]})).shape == (3, 0)


def test_classes_are_compared_with_the_most_frequent_one_or_one_that_is_named():
    assert ClinicalDesign.fit(TRAIN).references == {"stage=II": "I", "stage=III": "I"}
    named = ClinicalDesign.fit(TRAIN, {"stage": "II"})
    assert named.columns == ("age", "male", "stage=I", "stage=III")
    assert named.references == {"stage=I": "II", "stage=III": "II"}
    np.testing.assert_array_equal(named.transform(TRAIN)[:, 2:], [[1, 0], [0, 0], [1, 0], [0, 1]])
