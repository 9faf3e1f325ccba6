"""Class weights that cannot be meant are refused, and the message names what is wrong."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from fastreg.estimators import LogisticRegression, MLPClassifier

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 3
LABELS = (X[:, :3] > 0).astype(int)


@pytest.mark.parametrize("kind", [MLPClassifier, LogisticRegression])
@pytest.mark.parametrize(
    "given, error, told",
    [
        (
            {0: 0, 1: 0, 2: 0},
            ValueError,
            r"class_weight: got \{0: 0, 1: 0, 2: 0\}, expected a weight above 0 for some row",
        ),
        ({0: float("nan")}, ValueError, r"class_weight\[0\]: got nan, expected a finite number of at least 0"),
        ({0: -1}, ValueError, r"class_weight\[0\]: got -1, expected a finite number of at least 0"),
        ({0: "much"}, TypeError, r"class_weight\[0\]: got 'much'"),
        ([1, 2], TypeError, r"class_weight: got \[1, 2\], expected 'balanced' or a dict of weights by class"),
        ({0: 5, 99: 1}, ValueError, r"class_weight: got 99, expected one of the classes \[0, 1, 2\]"),
    ],
)
def test_refusals(kind, given, error, told):
    with pytest.raises(error, match=told):
        kind(max_iter=5, class_weight=given).fit(X, Y)


def test_several_labels_a_row():
    with pytest.raises(ValueError, match=r"class_weight: got 3, expected one of the labels \[0, 1, 2\]"):
        MLPClassifier(max_iter=5, class_weight={3: 2.0}).fit(X, LABELS)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_class_without_weight_is_not_learned():
    model = LogisticRegression(class_weight={1: 0}, max_iter=500).fit(X, Y)
    assert not (model.predict(X) == 1).any()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_number_weighs_all_rows():
    given = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
    one, all_ = (MLPClassifier(**given).fit(X, Y, weight) for weight in (2.0, np.full(60, 2.0)))
    assert np.array_equal(one.coefs_[0], all_.coefs_[0])
