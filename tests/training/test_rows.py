"""rows=: fits, evaluations and predictions of some rows have the bits of those of a copy of these rows."""

import numpy as np
import pytest
from trainers import classifier, same, state

import fastreg as fr

RNG = np.random.default_rng(5)
X = RNG.normal(size=(90, 6))
LABELS = RNG.integers(0, 3, 90)
YES = RNG.integers(0, 2, (90, 3)).astype(float)
WEIGHTS = RNG.uniform(0.5, 2, 90)
BOOTSTRAP = RNG.integers(0, 90, 70)
TARGETS = {"softmax_cross_entropy": LABELS, "sigmoid_cross_entropy": YES, "mse": YES}


def values(history):
    return {name: column for name, column in history.items() if name != "seconds"}


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_rows_are_as_good_as_a_copy(engine, loss, shuffle, weights):
    """The m of a penalty is the number of these rows, too."""
    y = TARGETS[loss]
    chosen, copied = (classifier(engine, loss=loss, l2=fr.L2(0.3, m="train"), seed=4) for _ in range(2))
    settings = {"epochs": 3, "batch_size": 16, "shuffle": shuffle}
    got = chosen.fit(X, y, rows=BOOTSTRAP, sample_weight=weights, **settings)
    part = None if weights is None else weights[BOOTSTRAP]
    expected = copied.fit(X[BOOTSTRAP], y[BOOTSTRAP], sample_weight=part, **settings)
    assert same(state(chosen), state(copied))
    assert values(got) == values(expected)
    assert chosen.step == 3 * 5  # 70 rows in batches of 16
    assert chosen.evaluate(X, y, weights, rows=BOOTSTRAP) == copied.evaluate(X[BOOTSTRAP], y[BOOTSTRAP], part)
    np.testing.assert_array_equal(chosen.predict(X, rows=BOOTSTRAP), copied.predict(X)[BOOTSTRAP])


def test_all_rows_are_no_rows(engine):
    one, other = classifier(engine), classifier(engine)
    one.fit(X, LABELS, epochs=2)
    other.fit(X, LABELS, epochs=2, rows=np.arange(90))
    assert same(state(one), state(other))


def test_rows_may_be_more_than_the_data_has(engine):
    many = np.tile(np.arange(90), 3)
    assert classifier(engine).fit(X, LABELS, rows=many, batch_size=45, epochs=1).epochs == [0]


def test_rows_are_copied_at_the_start(engine):
    """Changing the array while the fit runs has no effect."""

    class Spoil(fr.Callback):
        def on_epoch_begin(self, epoch):
            rows[...] = 0

    rows = BOOTSTRAP.copy()
    spoiled, whole = classifier(engine), classifier(engine)
    spoiled.fit(X, LABELS, rows=rows, epochs=2, callbacks=[Spoil()])
    whole.fit(X, LABELS, rows=BOOTSTRAP, epochs=2)
    assert same(state(spoiled), state(whole))


def test_a_bad_row_of_a_memory_map_is_named_by_its_place_in_the_data(engine, tmp_path):
    broken = X.astype(np.float32)
    broken[41, 2] = np.nan
    np.save(tmp_path / "x.npy", broken)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    trainer = classifier(engine)
    trainer.fit(mapped, LABELS, rows=np.arange(41))
    with pytest.raises(ValueError, match="row 41 of the data holds a value that is not finite"):
        trainer.fit(mapped, LABELS, rows=np.arange(40, 60), batch_size=8)


def test_cross_validation_by_rows():
    """Five folds of one array: each row is evaluated once, by a model that has not seen it."""
    y = (X[:, 0] > 0).astype(int)
    folds = np.array_split(np.random.default_rng(0).permutation(90), 5)
    right = []
    for fold in folds:
        trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(1.0))
        trainer.fit(X, y, rows=np.setdiff1d(np.arange(90), fold), epochs=60, batch_size=16)
        right.append(trainer.evaluate(X, y, rows=fold)["accuracy"] * len(fold))
    assert sum(right) / 90 > 0.9


def test_a_resumed_fit_has_to_repeat_the_rows(engine, tmp_path):
    path = tmp_path / "run.safetensors"

    def fit(epochs, rows, resume=None):
        trainer = classifier(engine)
        trainer.fit(X, LABELS, rows=rows, epochs=epochs, batch_size=16, callbacks=[fr.Checkpoint(path)], resume=resume)
        return state(trainer)

    expected = fit(4, BOOTSTRAP)
    fit(2, BOOTSTRAP)
    assert same(fit(4, BOOTSTRAP, path), expected)
    fit(2, BOOTSTRAP)
    for other in (BOOTSTRAP[::-1], BOOTSTRAP[:60], None):
        with pytest.raises(ValueError, match=r"resume: (chosen )?rows: got"):
            fit(4, other, path)


def test_evaluate_and_predict_refuse_rows_that_are_not_there(engine):
    trainer = classifier(engine)
    trainer.fit(X, LABELS)
    for call in (lambda: trainer.evaluate(X, LABELS, rows=[90]), lambda: trainer.predict(X, rows=[90])):
        with pytest.raises(ValueError, match="rows: got indices from 90 to 90, expected 0 to 89"):
            call()
