"""Our arguments do what the trainer does with them: each estimator against a trainer that is put together by hand."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.utils.class_weight import compute_sample_weight

import fastreg as fr
from fastreg.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(160, 6))
CODES = np.argmax(X[:, :3] + 0.5 * RNG.normal(size=(160, 3)), axis=1)
ROW = {"max_iter": 5, "n_iter_no_change": 5, "random_state": 0, "batch_size": 40, "hidden_layer_sizes": (12, 8)}


def dense(units, activation="relu", **more):
    return fr.Dense(units, activation, **more)


CASES = {
    "dropout": (
        {"dropout": 0.25},
        [dense(12), fr.Dropout(keep_prob=0.75), dense(8), fr.Dropout(keep_prob=0.75), dense(3, None)],
        {},
    ),
    "keep_prob": (
        {"keep_prob": (0.9, 0.8, 0.5)},
        [
            fr.Dropout(keep_prob=0.9),
            dense(12),
            fr.Dropout(keep_prob=0.8),
            dense(8),
            fr.Dropout(keep_prob=0.5),
            dense(3, None),
        ],
        {},
    ),
    "l1": ({"l1": 0.01}, [dense(12), dense(8), dense(3, None)], {"l1": 0.01}),
    "max_norm": ({"max_norm": 0.8}, [dense(n, a, max_norm=0.8) for n, a in ((12, "relu"), (8, "relu"), (3, None))], {}),
    "input_noise": ({"input_noise": 0.3}, [fr.GaussianNoise(0.3), dense(12), dense(8), dense(3, None)], {}),
    "batch_norm": (
        {"batch_norm": True},
        [dense(12, None), fr.BatchNorm("relu"), dense(8, None), fr.BatchNorm("relu"), dense(3, None)],
        {},
    ),
    "label_smoothing": (
        {"label_smoothing": 0.2},
        [dense(12), dense(8), dense(3, None)],
        {"loss": fr.losses.SoftmaxCrossEntropy(label_smoothing=0.2)},
    ),
    "weight_decay": (
        {"solver": "adamw", "weight_decay": 0.1, "alpha": 0.0},
        [dense(12), dense(8), dense(3, None)],
        {"optimizer": fr.AdamW(0.001, weight_decay=0.1), "l2": 0.0},
    ),
    "adamw": ({"solver": "adamw"}, [dense(12), dense(8), dense(3, None)], {"optimizer": fr.AdamW(0.001)}),
    "lion": (
        {"solver": "lion", "beta_2": 0.9},
        [dense(12), dense(8), dense(3, None)],
        {"optimizer": fr.Lion(0.001, beta2=0.9)},
    ),
    "schedule": (
        {"learning_rate_init": "cosine(0.01, 5)"},
        [dense(12), dense(8), dense(3, None)],
        {"optimizer": fr.Adam(fr.schedules.Cosine(0.01, 5))},
    ),
    "focal": ({"loss": "focal"}, [dense(12), dense(8), dense(3, None)], {"loss": "softmax_focal"}),
    "gelu": ({"activation": "gelu"}, [dense(12, "gelu"), dense(8, "gelu"), dense(3, None)], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_trainer_by_hand_gives_the_same_bits(name):
    given, layers, how = CASES[name]
    model = MLPClassifier(**ROW, **given).fit(X, CODES)
    hand = fr.Sequential(layers)
    hand.build(6, dtype="float64")
    generator = np.random.RandomState(0)
    for key, values in hand.parameters.items():
        if key.endswith(("weight", "bias")):
            w = hand.parameters[key.replace("bias", "weight")]
            limit = np.sqrt(6 / sum(w.shape))
            values[...] = generator.uniform(-limit, limit, values.shape)
    how = {"loss": "softmax_cross_entropy", "optimizer": fr.Adam(0.001), "l2": fr.L2(1e-4, m="batch"), **how}
    trainer = fr.Trainer(hand, dtype="float64", seed=int(generator.randint(2**31 - 1)), **how)
    trainer.fit(X, CODES, epochs=5, batch_size=40)
    for mine, (key, values) in zip(model.model_.parameters.values(), hand.parameters.items(), strict=True):
        assert np.array_equal(mine, values), key
    assert np.array_equal(model.predict_proba(X), hand.predict(X))


def test_keep_prob_and_dropout_are_two_names():
    keep, drop = ({"keep_prob": (0.75, 0.5)}, {"dropout": (0.25, 0.5)})
    one, two = (MLPClassifier(**ROW, **given).fit(X, CODES).predict_proba(X) for given in (keep, drop))
    assert np.array_equal(one, two)


def test_l1_makes_zeros_and_max_norm_limits():
    sparse = MLPClassifier(**ROW | {"max_iter": 60}, l1=0.05, learning_rate_init=0.01).fit(X, CODES)
    assert (sparse.coefs_[0] == 0).mean() > 0.3
    model = MLPClassifier(**ROW, max_norm=0.5, learning_rate_init=0.1).fit(X, CODES)
    assert all(np.linalg.norm(w, axis=0).max() < 0.5 + 1e-6 for w in model.coefs_)
    exact = MLPClassifier((), solver="lbfgs", l1=0.02, max_iter=1000).fit(X, CODES)
    assert (exact.coefs_[0] == 0).any()


@pytest.mark.parametrize("given", ["balanced", {"b": 5.0}])
def test_class_weights_are_weights_of_rows(given):
    names = np.array(["a", "b", "c"])[CODES]
    own = RNG.integers(1, 4, len(X)).astype(float)
    weights = compute_sample_weight({"b": 5.0}, names)
    if given == "balanced":
        sums = {name: own[names == name].sum() for name in "abc"}
        weights = np.array([own.sum() / (3 * sums[name]) for name in names])
    model = MLPClassifier(**ROW, class_weight=given).fit(X, names, own)
    other = MLPClassifier(**ROW).fit(X, names, own * weights)
    assert np.array_equal(model.predict_proba(X), other.predict_proba(X))


def test_class_weights_of_several_labels():
    labels = (X[:, :2] > 1).astype(int)
    plain, rare = (
        MLPClassifier(**ROW, learning_rate_init=0.02, class_weight=w).fit(X, labels) for w in (None, {0: 20.0})
    )
    assert rare.predict_proba(X)[:, 0].mean() > plain.predict_proba(X)[:, 0].mean() + 0.1


@pytest.mark.parametrize(
    "given, loss", [("absolute_error", fr.losses.MAE()), (fr.losses.Quantile(0.9), None), ("huber(delta=0.5)", None)]
)
def test_losses_of_numbers(given, loss):
    y = X[:, 0] + np.abs(RNG.normal(size=160))
    model = MLPRegressor(loss=given, hidden_layer_sizes=(12,), learning_rate_init=0.02, random_state=0).fit(X, y)
    below = (y <= model.predict(X)).mean()
    expected = 0.9 if "uantile" in repr(given) else 0.5
    assert abs(below - expected) < 0.12
    assert loss is None or model.model_.loss == loss


def test_hinge_has_scores_and_no_probabilities():
    model = MLPClassifier(**ROW | {"max_iter": 50}, loss=fr.losses.Hinge()).fit(X, CODES > 0)
    assert not hasattr(model, "predict_proba") and model.score(X, CODES > 0) > 0.5
    assert model.decision_function(X).shape == (160,)


def test_callbacks_see_the_training():
    seen = []

    class Watch(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(logs["val_loss"])
            logs["twice"] = 2 * logs["loss"]

    model = MLPClassifier(**ROW, callbacks=[Watch()]).fit(X, CODES, X_val=X[:50], y_val=CODES[:50])
    assert len(seen) == 5 and seen == model.history_["val_loss"]
    assert model.history_["twice"] == [2 * loss for loss in model.history_["loss"]]
    assert model.validation_scores_ == model.history_["val_accuracy"]
    stopped = MLPClassifier(**ROW | {"max_iter": 50}, callbacks="early_stopping('loss', patience=1, min_delta=10)")
    assert stopped.fit(X, CODES).n_iter_ < 5
