"""Metrics of a trainer: in evaluate, in the history, and for several held-back sets."""

import pickle
import warnings

import numpy as np
import pytest

import fastreg as fr

RNG = np.random.default_rng(5)
X = RNG.normal(size=(120, 4))
Y = (X[:, 0] + 0.5 * RNG.normal(size=120) > 0.3).astype(int)
Y3 = np.digitize(X[:, 0], [-0.4, 0.6])
NUMBERS = 3 + X @ [1.0, -2.0, 0.5, 0.0]
WEIGHTS = RNG.uniform(0, 2, 120)


def trainer(outputs=2, loss="softmax_cross_entropy", **settings):
    model = fr.Sequential([fr.Dense(6, "tanh"), fr.Dense(outputs)])
    return fr.Trainer(model, loss, fr.Adam(0.05), **settings)


CASES = {
    "two classes": (2, "softmax_cross_entropy", Y, ("accuracy", "f1", "roc_auc", "log_loss", "balanced_accuracy")),
    "classes": (3, "softmax_cross_entropy", Y3, ("f1_weighted", "roc_auc", "top_2_accuracy", "average_precision")),
    "one-hot": (3, "softmax_cross_entropy", np.eye(3)[Y3], ("accuracy", "f1_macro", "recall")),
    "yes or no": (1, "sigmoid_cross_entropy", Y, ("accuracy", "f1", "roc_auc", "precision_macro")),
    "labels": (3, "sigmoid_cross_entropy", np.eye(3)[Y3], ("accuracy", "f1_micro", "roc_auc")),
    "numbers": (1, "mse", NUMBERS, ("mae", "rmse", "mse", "r2", "max_error")),
    "several numbers": (2, "mse", np.column_stack([NUMBERS, X[:, 1]]), ("mae", "r2", "median_absolute_error")),
}


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("case", CASES)
def test_the_history_has_what_the_functions_say(case, weights, engine):
    outputs, loss, y, names = CASES[case]
    trained = trainer(outputs, loss, metrics=names, engine=engine)
    held_back = (X[80:], y[80:]) if weights is None else (X[80:], y[80:], weights[80:])
    history = trained.fit(X[:80], y[:80], epochs=2, validation_data=held_back)
    p = trained.predict(X[80:])
    found = trained.evaluate(*held_back)
    assert list(found) == ["loss", *names]
    for name in names:
        target = y[80:].reshape(p.shape) if loss == "mse" else y[80:]
        expected = getattr(fr.metrics, name)(target, p, None if weights is None else weights[80:])
        assert history[-1][f"val_{name}"] == pytest.approx(expected, rel=1e-5)
        assert found[name] == pytest.approx(expected, rel=1e-5)
    counted = [name for name in names if name == "accuracy"]  # as training runs
    assert [n for n in history if not n.startswith("val_")] == ["loss", *counted, "penalty", "seconds", "lr"]


def test_rows_select_what_metrics_see():
    trained, rows = trainer(metrics=("f1",)), np.array([*range(5, 40), 7, 7, 100])
    trained.fit(X, Y, epochs=9, rows=np.arange(60))
    expected = fr.metrics.f1(Y[rows], trained.predict(X[rows]), WEIGHTS[rows])
    assert trained.evaluate(X, Y, WEIGHTS, rows=rows)["f1"] == pytest.approx(expected)


def test_functions_get_targets_predictions_and_weights():
    seen = {}

    def plain(y_true, y_pred):
        seen["plain"] = y_true, y_pred
        return np.float32(0.5)

    def weighted(y_true, y_pred, sample_weight=None):
        seen["weighted"] = sample_weight
        return np.array([7])

    trained = trainer(metrics=(plain, ("named", weighted), lambda y, p: y.sum()))
    history = trained.fit(X, Y, validation_data=(X[:9], Y[:9], WEIGHTS[:9]))
    assert (history["val_plain"], history["val_named"], history["val_lambda"]) == ([0.5], [7.0], [Y[:9].sum()])
    np.testing.assert_array_equal(seen["plain"][0], Y[:9])
    np.testing.assert_allclose(seen["plain"][1], trained.predict(X[:9]))
    np.testing.assert_allclose(seen["weighted"], WEIGHTS[:9], rtol=1e-6)
    trained.evaluate(X, Y)
    assert seen["weighted"] is None


def test_numbers_come_as_columns_in_their_own_units():
    seen = []
    scaled = fr.Sequential([fr.Dense(1), fr.data.TargetScaler().fit(NUMBERS)])
    trained = fr.Trainer(
        scaled, "mse", fr.Adam(0.1), metrics=("rmse", ("seen", lambda y, p: seen.append((y, p)) or 0.0))
    )
    trained.fit(X, NUMBERS, epochs=3, validation_data=(X, NUMBERS))
    y, p = seen[-1]
    np.testing.assert_allclose(y, NUMBERS[:, None], rtol=1e-5)
    np.testing.assert_array_equal(p, trained.predict(X))
    assert trained.history["val_rmse"][-1] == pytest.approx(np.sqrt(np.mean((y - p) ** 2)), rel=1e-5)


def test_names_of_other_libraries_are_kept_as_given():
    for given, name in {"auc": "roc_auc", "acc": "accuracy", "F1_Score": "f1"}.items():
        trained = trainer(metrics=given)
        trained.fit(X, Y, validation_data=(X, Y))
        expected = getattr(fr.metrics, name)(Y, trained.predict(X))
        assert trained.history[f"val_{given}"][-1] == pytest.approx(expected)


def test_the_forms_of_the_argument():
    assert trainer(metrics=(fr.metrics.f1, fr.metrics.f1_macro)).metrics == ("f1", "f1_macro")
    assert trainer(metrics={"F": "f1", "g": max}).metric_names == ("F", "g")
    assert trainer(metrics="f1").metrics == ("f1",) and trainer(1, "mse").metric_names == ()
    given = trainer(metrics=(fr.metrics.f1, ("g", max)))
    assert pickle.loads(pickle.dumps(given)).metric_names == given.copy().metric_names == ("f1", "g")


REFUSED = {
    "another loss": ({"metrics": ("mae",)}, r"metrics: got 'mae' under softmax_cross_entropy, expected some of"),
    "unknown": ({"metrics": ("aucc",)}, r"metrics: got 'aucc', expected one of accuracy, .*the nearest is 'auc'"),
    "negated": ({"metrics": ("neg_log_loss",)}, r"got 'neg_log_loss', .*; 'log_loss' is this error, not negated"),
    "k": ({"metrics": ("top_k_accuracy",)}, r"got 'top_k_accuracy', .*say which k: 'top_5_accuracy'"),
    "twice": ({"metrics": ("f1", "f1")}, r"metrics: got 'f1' twice, expected different names"),
    "taken": ({"metrics": {"loss": max}}, r"metrics: got the name 'loss', expected another one"),
    "a class": ({"metrics": (int,)}, r"metrics: got <class 'int'>, expected a name, a function"),
    "a pair": ({"metrics": [("a", 3)]}, r"metrics: got \('a', 3\), expected \(name, function\)"),
    "labels": ({"outputs": 3, "loss": "sigmoid_cross_entropy", "metrics": "top_2_accuracy"}, r"got 'top_2_accuracy'"),
    "accuracy": ({"outputs": 1, "loss": "mse", "metrics": ("accuracy", "mae")}, r"metrics: got 'accuracy' under mse"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    settings, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        trainer(**settings)
    assert "\n" not in str(error.value)


def test_a_function_that_fails_is_named_and_the_epoch_does_not_count():
    def fails(y_true, y_pred):
        raise ValueError("mixed\ntargets")

    trained = trainer(metrics=(fails,))
    trained.model.build(4)
    before = trained.model.state_dict()
    with pytest.raises(
        ValueError, match=r"metrics: the function of 'fails' failed: mixed targets; y_pred has a column"
    ):
        trained.fit(X, Y, validation_data=(X, Y))
    assert trained.epoch == trained.batches == trained.updates == 0
    assert all(np.array_equal(before[name], value) for name, value in trained.model.state_dict().items())
    with pytest.raises(TypeError, match=r"metrics: got 'x' from 'text', expected a number"):
        trainer(metrics={"text": lambda y, p: "x"}).fit(X, Y, validation_data=(X, Y))


def test_what_is_not_defined_warns_in_evaluate_but_not_in_fit():
    trained = trainer(metrics=("roc_auc", "recall"))
    zeros = np.zeros(120, int)
    history = trained.fit(X, Y, validation_data=(X, zeros))  # pytest makes errors of warnings
    assert np.isnan(history["val_roc_auc"]) and history["val_recall"] == [0.0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.isnan(trained.evaluate(X, zeros)["roc_auc"])
    assert [str(w.message).split()[0] for w in caught] == ["roc_auc", "recall"]


def test_metrics_do_not_touch_training(engine):
    one, other = trainer(engine=engine), trainer(engine=engine, metrics=("f1", "roc_auc"))
    one.fit(X, Y, epochs=3, batch_size=32, validation_data=(X, Y))
    other.fit(X, Y, epochs=3, batch_size=32, validation_data=(X, Y))
    assert all(np.array_equal(one.model.state_dict()[name], v) for name, v in other.model.state_dict().items())


# --- Held-back sets -----------------------------------------------------------------------------------------------


def test_several_sets_by_name():
    trained, sets = trainer(metrics=("f1",)), {"dev": (X[:40], Y[:40]), "late_test": (X, Y, WEIGHTS)}
    stopping = fr.EarlyStopping("dev_f1", patience=9)
    history = trained.fit(X, Y, epochs=4, validation_data=sets, callbacks=stopping)
    columns = ["dev_loss", "dev_f1", "late_test_loss", "late_test_f1"]
    assert list(history) == ["loss", "penalty", "seconds", "lr", *columns]
    assert stopping.best == max(history["dev_f1"]) == trained.evaluate(X[:40], Y[:40])["f1"]
    one = trainer().fit(X, Y, epochs=4, validation_data=(X, Y, WEIGHTS))
    assert one["val_loss"] == history["late_test_loss"]


SETS = {
    "a list": ([(X, Y), (X, Y)], r"validation_data: got a list of 2 sets, expected a dict that names them"),
    "a tuple": (((X, Y),), r"validation_data: got a tuple of 1 sets, expected a dict that names them"),
    "no set": ({}, r"validation_data: got an empty dict"),
    "a name": ({3: (X, Y)}, r"validation_data: got the name 3, expected text"),
    "no pair": ({"dev": X}, r"validation_data\['dev'\]: got ndarray, expected \(X, y\)"),
    "none": ({"dev": None}, r"validation_data\['dev'\]: got None, expected \(X, y\)"),
    "rows": ({"dev": (X, Y), "test": (X, Y[:3])}, r"validation_data\['test'\]\[1\]: got shape \(3,\), expected 120"),
    "monitor": ({"dev": (X, Y)}, r"EarlyStopping monitor: got 'val_loss', .*the nearest is 'dev_loss'"),
}  # fmt: skip


@pytest.mark.parametrize("case", SETS)
def test_sets_that_are_refused(case):
    sets, message = SETS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        trainer().fit(X, Y, validation_data=sets, callbacks=[fr.EarlyStopping()] if case == "monitor" else [])


def test_columns_of_one_name_are_refused():
    sets = {"a": (X, Y), "a_b": (X, Y)}
    with pytest.raises(ValueError, match="validation_data: got 'a_b_loss' as the name of two columns"):
        trainer(metrics={"b_loss": "f1"}).fit(X, Y, validation_data=sets)


def test_pairs_of_lists_are_still_one_set():
    history = trainer().fit(X, Y, validation_data=[X.tolist(), Y.tolist()])
    assert history["val_loss"] == trainer().fit(X, Y, validation_data=(X, Y))["val_loss"]


# --- validation_split ---------------------------------------------------------------------------------------------


class Seen(fr.Callback):
    """Which rows are trained on, and which ones are held back."""

    def check_fit(self, trainer, plan):
        self.rows = plan.training.rows


@pytest.mark.parametrize("rows", [None, np.arange(20, 110)])
def test_validation_split_is_stratified_seeded_and_of_the_chosen_rows(rows):
    seen = Seen()
    first = trainer(3).fit(X, Y3, epochs=2, rows=rows, validation_split=0.2, sample_weight=WEIGHTS, callbacks=seen)
    chosen = np.arange(120) if rows is None else rows
    held = np.setdiff1d(chosen, seen.rows)
    assert len(held) == len(chosen) // 5 and np.isin(seen.rows, chosen).all()
    for label in range(3):
        assert abs(np.sum(Y3[held] == label) - np.sum(Y3[chosen] == label) / 5) < 1
    by_hand = trainer(3).fit(
        X, Y3, epochs=2, rows=seen.rows, sample_weight=WEIGHTS, validation_data=(X[held], Y3[held], WEIGHTS[held])
    )
    assert by_hand["val_loss"] == pytest.approx(first["val_loss"]) and by_hand["loss"] == first["loss"]
    other = Seen()
    trainer(3, seed=1).fit(X, Y3, rows=rows, validation_split=0.2, callbacks=other)
    assert not np.array_equal(other.rows, seen.rows)


def test_validation_split_leaves_class_weights_out_of_the_held_back_rows():
    plain = trainer().fit(X, Y, validation_split=0.25)
    weighted = trainer().fit(X, Y, validation_split=0.25, class_weight={0: 0.0, 1: 5.0})
    assert plain["loss"] != weighted["loss"]
    unlearned = [trainer() for _ in range(2)]
    for t, weight in zip(unlearned, (None, {1: 5.0}), strict=True):
        t.optimizer = fr.SGD(0.0)
        t.fit(X, Y, validation_split=0.25, class_weight=weight)
    assert unlearned[0].history["val_loss"] == unlearned[1].history["val_loss"]


def test_validation_split_is_refused_next_to_validation_data():
    with pytest.raises(ValueError, match=r"validation_split: got 0\.2 with validation_data, expected one of the two"):
        trainer().fit(X, Y, validation_split=0.2, validation_data=(X, Y))
    for wrong in (1.0, -0.1, 20):
        with pytest.raises(ValueError, match="validation_split: got"):
            trainer().fit(X, Y, validation_split=wrong)
    with pytest.raises(ValueError, match="expected a share that leaves rows held back of 3"):
        trainer().fit(X[:3], Y[:3], validation_split=0.1)
    assert "val_loss" not in trainer().fit(X, Y, validation_split=0.0)


def test_a_dict_of_columns_is_a_table_and_a_dict_of_tables_are_sets():
    columns = {"a": X[:, 0], "b": X[:, 1], "price": NUMBERS}
    schema = fr.data.infer_schema(columns, target="price")

    def fit(held_back):
        trained = fr.Trainer(fr.Sequential([schema, fr.Dense(1)]), "mse", fr.Adam(0.1))
        return trained.fit(columns, epochs=2, validation_data=held_back)

    single, sets = fit(columns), fit({"dev": columns, "price": (columns, None)})
    assert single["val_loss"] == sets["dev_loss"] == sets["price_loss"]


def test_outputs_that_are_no_probabilities_cannot_be_ranked():
    def hinge(y, t):
        return np.zeros(len(y)), np.zeros_like(y)

    loss = fr.losses.Custom(hinge, targets="labels")
    history = trainer(loss=loss, metrics=("accuracy", "f1")).fit(X, Y, validation_data=(X, Y))
    assert {"val_accuracy", "val_f1"} < set(history) and "accuracy" not in history
    with pytest.raises(ValueError, match="metrics: got 'roc_auc' under hinge, expected some of accuracy"):
        trainer(loss=loss, metrics="roc_auc")


MISSING = np.where(np.arange(120) % 3 == 0, np.nan, 1.0)


@pytest.mark.parametrize(
    ("loss", "y", "names"),
    [
        (fr.losses.SoftmaxCrossEntropy, Y3 * MISSING, ("f1", "roc_auc", "accuracy")),
        (fr.losses.SigmoidCrossEntropy, np.eye(3)[Y3] * np.roll(MISSING, 1)[:, None], ("f1", "roc_auc", "log_loss")),
        (fr.losses.MSE, np.column_stack([NUMBERS * MISSING, NUMBERS, X[:, 0]]), ("mse", "r2")),
    ],
)
def test_missing_targets_are_left_out(loss, y, names):
    seen = []
    functions = (("seen", lambda y, p: seen.append((y, p)) or 1.0),)
    trained = trainer(3, loss(missing_targets=True), metrics=(*names, *functions))
    history = trained.fit(X, y, validation_data=(X, y))
    known = ~np.isnan(y) if y.ndim == 1 else ~np.isnan(y).all(axis=1)
    p = trained.predict(X)
    for name in names:
        assert history[f"val_{name}"][-1] == pytest.approx(getattr(fr.metrics, name)(y[known], p[known]), rel=1e-5)
    np.testing.assert_allclose(seen[-1][0], y[known], rtol=1e-6)
    np.testing.assert_array_equal(seen[-1][1], p[known])
    if "mse" in names:
        assert history["val_mse"] == pytest.approx(history["val_loss"])
    if "log_loss" in names:
        assert history["val_log_loss"] == pytest.approx(history["val_loss"])


def test_rows_of_probabilities_as_targets():
    shares = RNG.dirichlet(np.ones(3), 120)
    history = trainer(3, metrics=("log_loss", "accuracy", "f1")).fit(X, shares, validation_data=(X, shares))
    assert history["val_log_loss"] == pytest.approx(history["val_loss"], rel=1e-5)


def test_a_row_that_comes_twice_is_on_one_side_of_the_split():
    seen, rows = Seen(), np.sort(RNG.integers(0, 120, 120))
    trainer(3).fit(X, Y3, rows=rows, validation_split=0.3, callbacks=seen)
    held = np.setdiff1d(rows, seen.rows)
    assert abs(len(held) - 0.3 * len(np.unique(rows))) < 3  # one for each class
    np.testing.assert_array_equal(seen.rows, rows[~np.isin(rows, held)])


def test_a_held_back_set_is_named_where_its_file_has_a_bad_row(tmp_path):
    bad = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (120, 4))
    bad[...] = X
    bad[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"validation_data\['test'\].*row 7"):
        trainer().fit(X, Y, validation_data={"dev": (X, Y), "test": (bad, Y)})
