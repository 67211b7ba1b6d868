"""What leaks add to a verdict, in words."""

import pytest

from mmcell.report.leaks import also, codes


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ((), ""),
        (("knows-the-batch", "knows-the-batch"), "It also knows the batch."),
        (
            ("cell-count-leak", "technical-retention", "knows-the-batch", "technical-covariate-leak"),
            "It also knows the batch and gives away how patients were measured. The number of cells or a covariate of "
            "the measurement alone tells the label.",
        ),
        (
            ("batch-label", "cell-count-leak"),
            "The number of cells alone tells the label and the label goes with the batch.",
        ),
        # What is new here is not passed over.
        (("of-a-plug-in",), "1 more leak (of-a-plug-in)."),
    ],
)  # fmt: skip
def test_leaks_in_words(leak, found, text):
    assert also([leak(code=c) for c in found]) == text


def test_a_warning_is_no_leak(leak):
    findings = [leak(code="knows-the-batch", severity="warning"), leak(code="batch-label")]
    assert codes(findings) == ["batch-label"]
    assert also(findings) == "The label goes with the batch."


def test_the_verdict_says_it(record, score, leak):
    from mmcell import Results
    from mmcell.report.html import render

    one = record("toy", "candidate", score((0.12, 0.03, 0.2)))
    plain = render(Results([one, record("pca", "control")]))
    told = render(Results([one.model_copy(update={"findings": [leak()]}), record("pca", "control")]))
    assert "It also knows the batch." in told
    assert "It also" not in plain
