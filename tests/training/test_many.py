"""Many fits in this process: each is the fit that one would write by hand. tests/distributed has them on workers."""

import math

import numpy as np
import pytest
from many import FIT, X, Y, bits, make
from trainers import same, state

import fastreg as fr
from fastreg.training.many.space import random_points


def tuned(width=8, l2=0.0, seed=0):
    layers = [fr.Dense(width, "relu"), fr.Dense(2)]
    return fr.Trainer(fr.Sequential(layers), optimizer=fr.SGD(0.1, momentum=0.9), l2=l2, seed=seed)


# --- Seeds ------------------------------------------------------------------------------------------------------------


def test_seeds_are_fits_by_hand():
    fits = fr.fit_seeds(make, X[:200], Y[:200], [3, 1], test_data=(X[200:], Y[200:]), keep="trainers", **FIT)
    for seed, fit, trainer in zip((3, 1), fits, fits.trainers, strict=True):
        alone = make(seed)
        history = alone.fit(X[:200], Y[:200], **FIT)
        assert same(state(alone), state(trainer)) and history["loss"] == fit.history["loss"]
        assert alone.evaluate(X[200:], Y[200:]) == fit.scores
    assert fits["accuracy"].tolist() == [fit.scores["accuracy"] for fit in fits]
    assert fits.mean("loss") == np.mean(fits["loss"]) and fits.std("test_loss") == np.std(fits["loss"])


def test_a_trainer_is_copied_for_each_seed():
    trainer = make(9)
    assert bits(fr.fit_seeds(trainer, X, Y, 3, **FIT)) == bits(fr.fit_seeds(make, X, Y, 3, **FIT))
    assert not trainer.model.built and trainer.seed == 9


def test_each_fit_has_its_own_callbacks():
    """A rule that stops one fit does not remember it in the next."""
    stop = fr.EarlyStopping("loss", patience=1)
    settings = {"epochs": 30, "batch_size": 240}
    alone = make(0).fit(X, Y, callbacks=[fr.EarlyStopping("loss", patience=1)], **settings)
    fits = fr.fit_seeds(make, X, Y, [0, 0], callbacks=stop, **settings)
    by_function = fr.fit_seeds(
        make, X, Y, [0], callbacks=lambda number: ["early_stopping('loss', patience=1)"], **settings
    )
    assert [fit.history["loss"] for fit in (*fits, *by_function)] == [alone["loss"]] * 3


def test_tables():
    fits = fr.fit_seeds(make, X, Y, 2, validation_data=(X[:50], Y[:50]), **FIT)
    text = repr(fits).splitlines()
    assert text[0] == "Fits: 2" and text[3].startswith("seed 0") and text[-2].startswith("mean")
    assert fits.to_dict()["name"] == ["seed 0", "seed 1"]
    assert fits[0].scores == make_and_evaluate(0) and len(fits[:1]) == 1


def make_and_evaluate(seed):
    trainer = make(seed)
    trainer.fit(X, Y, **FIT)
    return trainer.evaluate(X[:50], Y[:50])


# --- Folds ------------------------------------------------------------------------------------------------------------


def test_folds_are_fits_by_hand():
    weights = np.linspace(0.5, 2, 240)
    fits = fr.cross_validate(make, X, Y, cv=3, seed=4, sample_weight=weights, keep="states", **FIT)
    for (training, held), fit, got in zip(fr.data.folds(X, Y, 3, seed=4), fits, fits.states, strict=True):
        alone = make(4)
        alone.fit(X[training], Y[training], sample_weight=weights[training], **FIT)
        assert same(state(alone), got)
        expected = alone.evaluate(X[held], Y[held], weights[held])
        assert fit.scores == pytest.approx(expected, rel=1e-12)


def test_splitters_of_scikit_learn_and_pairs():
    selection = pytest.importorskip("sklearn.model_selection")
    splitter = selection.GroupKFold(4)
    groups = np.arange(240) % 12
    pairs = list(splitter.split(X, Y, groups))
    fits = fr.cross_validate(make(0), X, Y, cv=splitter, groups=groups, keep="states", **FIT)
    assert bits(fits) == bits(fr.cross_validate(make(0), X, Y, cv=pairs, keep="states", **FIT))
    assert [fit.name for fit in fits] == [f"fold {k} of 4" for k in (1, 2, 3, 4)]


# --- Searches ---------------------------------------------------------------------------------------------------------


def test_a_grid_is_cross_validated_at_each_point():
    grid = {"width": [2, 8], "l2": [0.0, 0.1], "batch_size": [16, 32]}
    search = fr.grid_search(tuned, grid, X, Y, cv=3, epochs=3, monitor="accuracy")
    assert len(search.params) == 8
    for point, fits in zip(search.params, search.fits, strict=True):
        own = {"width": point["width"], "l2": point["l2"]}
        alone = fr.cross_validate(lambda own=own: tuned(**own), X, Y, cv=3, epochs=3, batch_size=point["batch_size"])
        assert fits["accuracy"].tolist() == alone["accuracy"].tolist()
    assert search.best_score == max(search.mean) and search.mean[search.best_index] == search.best_score
    best = search.best_params
    again = tuned(best["width"], best["l2"])
    again.fit(X, Y, epochs=3, batch_size=best["batch_size"])
    assert same(state(search.trainer), state(again))
    assert "8, by accuracy" in repr(search)


def test_the_arguments_of_a_trainer_are_searched():
    search = fr.grid_search(tuned(), {"l2": [0.0, 10.0], "lr": [0.1]}, X, Y, cv=2, epochs=5, refit=False)
    assert search.best_params == {"l2": 0.0, "lr": 0.1} and search.trainer is None


def test_halving_trains_on():
    """The last fit of the best is a fit that never stopped, and the bad ones have stopped early."""
    grid = {"l2": [0.0, 1.0, 2.0, 3.0]}
    search = fr.grid_search(tuned, grid, X, Y, cv=2, epochs=8, factor=2)
    assert sorted(search.epochs) == [2, 2, 4, 8]
    best = search.best_index
    whole = fr.grid_search(tuned, {"l2": [search.params[best]["l2"]]}, X, Y, cv=2, epochs=8, refit=False)
    assert search.fits[best]["loss"].tolist() == whole.fits[0]["loss"].tolist()


def test_random_points_follow_from_the_seed():
    space = {"a": (1, 3), "b": (1e-4, 1.0, "log"), "c": ["x", "y"], "d": (0.5, 2.0), "e": lambda rng: rng.integers(5)}
    points = random_points(space, 400, 7)
    assert points[:50] == random_points(space, 50, 7) != random_points(space, 50, 8)
    assert {point["a"] for point in points} == {1, 2, 3} and {point["c"] for point in points} == {"x", "y"}
    logs = np.log10([point["b"] for point in points])
    assert -4 <= logs.min() < -3.9 and -0.1 < logs.max() <= 0 and abs(logs.mean() + 2) < 0.2
    assert all(0.5 <= point["d"] < 2 and isinstance(point["e"], int) for point in points)


def test_a_random_search_compares_by_validation_data():
    split = (X[:160], Y[:160]), (X[160:], Y[160:])
    space = {"width": (1, 12)}
    search = fr.random_search(tuned, space, *split[0], n_iter=4, cv=None, validation_data=split[1], epochs=3, seed=2)
    trainer = tuned(search.best_params["width"], seed=2)
    trainer.fit(*split[0], epochs=3)
    assert math.isclose(trainer.evaluate(*split[1])["loss"], search.best_score)


# --- Errors -----------------------------------------------------------------------------------------------------------

TRAINED = tuned()
TRAINED.fit(X, Y)
BAD = {
    "trained": (lambda: fr.cross_validate(TRAINED, X, Y), r"make: got a trainer after 2 batches, expected a new one"),
    "no trainer": (lambda: fr.fit_seeds(lambda seed: 3, X, Y, 1), r"make: got a int as its result, expected a new"),
    "no function": (lambda: fr.fit_seeds(3, X, Y), r"make: got 3, expected a Trainer or a function that makes one"),
    "keep": (lambda: fr.fit_seeds(make, X, Y, keep="all"), r"keep: got 'all', expected one of scores"),
    "argument of fit": (lambda: fr.fit_seeds(make, X, Y, epoch=2), r"fit_seeds: got the argument 'epoch'"),
    "rows": (lambda: fr.cross_validate(make, X, Y, rows=[1]), r"cross_validate: got the argument 'rows'"),
    "task": (lambda: fr.cross_validate(make, X, Y + 1, cv=2), r"fold 1 of 2: y: got labels from 1 to 2"),
    "cv": (lambda: fr.cross_validate(make, X, Y, cv=1), r"cv: got 1, expected an integer from 2"),
    "pairs": (lambda: fr.cross_validate(make, X, Y, cv=[1, 2]), r"cv: got 1, expected pairs"),
    "rows of cv": (lambda: fr.cross_validate(make, X, Y, cv=[([0], [999])]), r"cv: got indices from 999 to 999"),
    "n_jobs": (lambda: fr.fit_seeds(make, X, Y, n_jobs=0), r"n_jobs: got 0, expected a number of workers"),
    "name": (lambda: fr.grid_search(tuned, {"depth": [1]}, X, Y), r"grid_search: got 'depth' among the values"),
    "no list": (lambda: fr.grid_search(tuned, {"l2": 1}, X, Y), r"grid: got 1 for 'l2', expected a list of values"),
    "monitor": (lambda: fr.grid_search(tuned, {"l2": [0]}, X, Y, monitor="f1"), r"monitor: got 'f1', expected one"),
    "no validation": (lambda: fr.grid_search(tuned, {"l2": [0]}, X, Y, cv=None), r"cv: got None without"),
    "halved epochs": (
        lambda: fr.grid_search(tuned, {"epochs": [1, 2]}, X, Y, factor=2),
        r"factor: got halving with 'epochs' among the values",
    ),
    "space": (lambda: fr.random_search(tuned, {"l2": (0, 1, "log")}, X, Y), r"space: got .* expected low < high"),
    "bagging": (lambda: fr.Bagging(make, 2, n_jobs=2, parallel=True), r"n_jobs: got 2 with parallel=True"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert "\n" not in str(error.value)
