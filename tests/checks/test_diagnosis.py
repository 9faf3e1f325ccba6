"""diagnose: the four cases of the textbook, from errors and from histories."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.callbacks.history import History
from fastreg.checks import diagnose

# Errors on a set of cat pictures, and what they mean where a human makes (almost) none: A. Ng's four examples.
CASES = {
    (0.01, 0.11): "high variance",
    (0.15, 0.16): "high bias",
    (0.15, 0.30): "high bias and high variance",
    (0.005, 0.01): "neither",
}


def history_of(**columns) -> History:
    history = History()
    for epoch, row in enumerate(zip(*columns.values(), strict=True)):
        history.append(epoch, dict(zip(columns, row, strict=True)))
    return history


@pytest.mark.parametrize("errors", CASES)
def test_four_cases(errors):
    found = diagnose(errors)
    assert found.case == CASES[errors]
    assert (found.bias, found.variance) == (errors[0], errors[1] - errors[0])
    assert (found.high_bias, found.high_variance) == ("bias" in found.case, "variance" in found.case)
    lines = str(found).splitlines()
    assert lines[0] == found.case and lines[-len(found.advice) :] == [f"  - {line}" for line in found.advice]


def test_the_best_possible_error_decides_what_is_bias():
    assert diagnose((0.15, 0.16), best=0.14).case == "neither"
    assert diagnose((0.15, 0.30), best=0.15).case == "high variance"


def test_each_case_has_advice_of_its_own():
    advice = {case: " ".join(diagnose(errors).advice) for errors, case in CASES.items()}
    assert "larger network" in advice["high bias"] and "more training data" not in advice["high bias"]
    assert "more training data" in advice["high variance"] and "larger network" not in advice["high variance"]
    both = advice["high bias and high variance"]
    assert both.index("bias first") < both.index("larger network") < both.index("more training data")
    assert "test set" in advice["neither"]


@pytest.mark.parametrize("gap", [0.02, 0.2])
def test_limits_are_those_given(gap):
    found = diagnose((gap, 2 * gap), bias_limit=gap, variance_limit=gap / 2)
    assert (found.high_bias, found.high_variance) == (False, True)


def test_history_with_accuracies():
    history = history_of(loss=[2, 1], accuracy=[0.6, 0.99], val_loss=[2, 3], val_accuracy=[0.6, 0.75])
    last = diagnose(history)
    assert last.case == "high variance"
    np.testing.assert_allclose([last.train, last.validation], [0.01, 0.25])
    assert diagnose(history, epoch=0).case == diagnose(history, epoch=-2).case == "high bias"


def test_history_of_losses_needs_limits():
    history = history_of(loss=[0.5], val_loss=[4.0])
    with pytest.raises(ValueError, match="bias_limit: got None, expected a number: only errors that are rates"):
        diagnose(history)
    assert diagnose(history, bias_limit=1, variance_limit=1, best=0.2).case == "high variance"


def test_impossible_errors_get_a_remark():
    assert "both sets are drawn from the same data" in diagnose((0.3, 0.1)).advice[0]
    assert "too high a guess" in diagnose((0.01, 0.02), best=0.2).advice[0]


def test_of_trained_networks():
    """Noise learned by heart is variance; a model without hidden units on two moons, or one not trained, has bias."""
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(60, 20)), rng.integers(0, 2, 120)
    X_dev = rng.normal(size=(60, 20))
    net = fr.Trainer(fr.Sequential([fr.Dense(64, "relu"), fr.Dense(2)]), optimizer=fr.Adam(0.01))
    history = net.fit(X, noise[:60], epochs=80, batch_size=20, validation_data=(X_dev, noise[60:]))
    assert diagnose(history, best=0.0).case == "high variance"
    net = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(0.0))
    history = net.fit(X, noise[:60], validation_data=(X, noise[:60]))
    assert diagnose(history).case == "high bias"


BAD = {
    "one error": (lambda: diagnose((0.1,)), r"errors: got \(0\.1,\), expected \(train, validation\) or a history"),
    "a number": (lambda: diagnose(0.1), r"errors: got 0\.1, expected \(train, validation\)"),
    "text": (lambda: diagnose("ab"), r"errors: got 'ab', expected \(train, validation\)"),
    "NaN": (lambda: diagnose((0.1, float("nan"))), r"errors\[1\]: got nan, expected a finite number of at least 0"),
    "negative": (lambda: diagnose((-0.1, 0.1)), r"errors\[0\]: got -0\.1, expected a finite number of at least 0"),
    "best": (lambda: diagnose((0.1, 0.1), best=-1), r"best: got -1, expected a finite number of at least 0"),
    "best of rates": (lambda: diagnose((0.1, 0.1), best=5), r"best: got 5\.0, expected a rate from 0 to 1"),
    "limit": (lambda: diagnose((0.1, 0.1), bias_limit="x"), r"bias_limit: got 'x', expected a number"),
    "percents": (lambda: diagnose((15, 16)), r"bias_limit: got None, expected a number: only errors that are rates"),
    "no validation": (
        lambda: diagnose(history_of(loss=[1], accuracy=[1])),
        r"errors: got a history of \['loss', 'accuracy'\], .*validation_data",
    ),
    "empty": (lambda: diagnose({"loss": [], "val_loss": []}), r"errors: got a history without epochs"),
    "epoch": (lambda: diagnose(history_of(loss=[1], val_loss=[1]), epoch=1), r"epoch: got 1, expected an .* -1 to 0"),
    "loss NaN": (lambda: diagnose({"loss": [np.nan], "val_loss": [1]}), r"errors\['loss'\]: got nan, expected a fin"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert "\n" not in str(error.value)
