"""Weight averaging: against the formula, against PyTorch, and against the same training without it."""

import numpy as np
import pytest
import resumable
from trainers import same, state

import fastreg as fr
from fastreg.machine import threads

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)), RNG.integers(0, 3, 60)
HELD = RNG.normal(size=(20, 6)), RNG.integers(0, 3, 20)
DECAY = 0.9


class Recorder(fr.Callback):
    """The parameters after each step, and after each epoch."""

    def __init__(self):
        self.steps, self.epochs, self._updates = [], [], 0

    def on_batch_end(self, batch, logs):
        if self.trainer.updates > self._updates:
            self.steps.append(state(self.trainer))
        self._updates = self.trainer.updates

    def on_epoch_end(self, epoch, logs):
        self.epochs.append(state(self.trainer))


def trainer(engine="native", averaging=None, layers=None, **settings):
    layers = layers or [fr.Dropout(rate=0.2), fr.Dense(5, "tanh", max_norm=2.0), fr.Dense(3)]
    settings = {"optimizer": fr.Adam(0.05), "dtype": "float64", "seed": 3} | settings
    return fr.Trainer(fr.Sequential(layers), engine=engine, averaging=averaging, **settings)


def fit(trained, epochs=4, **more):
    return trained.fit(X, Y, **{"epochs": epochs, "batch_size": 16} | more)


def raw(trained):
    slots = trained.optimizer_state
    return {name: slots[f"{name}/raw"].copy() for name in trained.model.parameters if f"{name}/raw" in slots}


def exponential(steps, decay=DECAY):
    """The mean with the weights decay^age, divided by their sum."""
    weights = decay ** np.arange(len(steps))[::-1]
    return {n: np.tensordot(weights / weights.sum(), np.stack([s[n] for s in steps]), axes=1) for n in steps[0]}


def close(got, wanted, **limits):
    assert got.keys() == wanted.keys()
    for name in got:
        np.testing.assert_allclose(got[name], wanted[name], **limits)


# --- Their values ------------------------------------------------------------------------------------------------

WAYS = {
    "plain": {},
    "accumulated": {"accumulate": 3},
    "clipped": {"clip_norm": 0.5},
    "momentum": {"optimizer": fr.SGD(0.1, momentum=0.9, weight_decay=0.01), "l1": 1e-3},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ema_is_the_weighted_mean_of_all_steps(engine, dtype, way):
    recorder, plain = Recorder(), trainer(engine, dtype=dtype, **WAYS[way])
    fit(plain, callbacks=recorder)
    averaged = trainer(engine, fr.EMA(DECAY), dtype=dtype, **WAYS[way])
    fit(averaged)
    assert same(raw(averaged), state(plain))  # training itself is the same, to the bit
    exact = 1e-13 if dtype == "float64" else 1e-6
    close(state(averaged), exponential(recorder.steps), rtol=exact, atol=exact)


def test_the_first_step_is_the_average_and_decay_0_the_last_one(engine):
    for decay, epochs in ((0.999, 1), (0.0, 3)):
        averaged, plain = trainer(engine, fr.EMA(decay)), trainer(engine)
        for trained in (averaged, plain):
            fit(trained, epochs, batch_size=60)
        assert same(state(averaged), state(plain)) and same(raw(averaged), state(plain))


@pytest.mark.parametrize("every", [1, 2])
def test_swa_is_the_mean_of_the_epochs(engine, every):
    recorder, plain = Recorder(), trainer(engine)
    fit(plain, 7, callbacks=recorder)
    averaged, seen = trainer(engine, fr.SWA(2, every)), Recorder()
    fit(averaged, 7, callbacks=seen)
    assert same(raw(averaged), state(plain))
    for epoch in range(7):
        counted = [recorder.epochs[e] for e in range(2, epoch + 1, every)]
        wanted = {n: np.mean([s[n] for s in counted], axis=0) for n in state(plain)} if counted else None
        close(seen.epochs[epoch], wanted or recorder.epochs[epoch], rtol=1e-13, atol=1e-14)
    assert averaged.optimizer_state["swa/count"][0] == len(range(2, 7, every))


def test_against_torch(engine):
    torch = pytest.importorskip("torch")
    utils = torch.optim.swa_utils
    recorder, plain = Recorder(), trainer(engine)
    fit(plain, callbacks=recorder)

    def followed(weights, **how):
        """What AveragedModel makes of these weights."""
        module = torch.nn.ParameterDict({n.replace(".", "_"): torch.tensor(v) for n, v in weights[0].items()})
        model = utils.AveragedModel(module, **how)
        for values in weights:
            for name, value in values.items():
                module[name.replace(".", "_")].data.copy_(torch.tensor(value))
            model.update_parameters(module)
        return {name: model.module[name.replace(".", "_")].detach().numpy() for name in weights[0]}

    def corrected(average, w, steps):
        return average + (1 - DECAY) / (1 - DECAY ** (int(steps) + 1)) * (w - average)

    averaged = trainer(engine, fr.EMA(DECAY))
    fit(averaged)
    close(state(averaged), followed(recorder.steps, avg_fn=corrected), rtol=1e-12, atol=1e-13)
    short = trainer(engine, fr.EMA(0.1))  # after 16 steps nothing is left of the start
    fit(short)
    close(state(short), followed(recorder.steps, avg_fn=utils.get_ema_avg_fn(0.1)), rtol=1e-12, atol=1e-13)
    mean = trainer(engine, fr.SWA(1))
    fit(mean)
    close(state(mean), followed(recorder.epochs[1:]), rtol=1e-12, atol=1e-13)


def test_steps_of_zero_weight_are_not_averaged(engine):
    weights = np.ones(60)
    weights[16:48] = 0
    recorder, plain = Recorder(), trainer(engine)
    fit(plain, callbacks=recorder, shuffle=False, sample_weight=weights)
    averaged = trainer(engine, fr.EMA(DECAY))
    fit(averaged, shuffle=False, sample_weight=weights)
    assert len(recorder.steps) == 8 == averaged.optimizer_state["ema/count"][0]
    close(state(averaged), exponential(recorder.steps), rtol=1e-13, atol=1e-14)


def test_what_training_leaves_as_it_is_stays_to_the_bit(engine):
    scaled = fr.data.Standardizer().fit(X)
    layers = [scaled, fr.Dense(5, "tanh", trainable=False), fr.Dense(3)]
    averaged = trainer(engine, fr.EMA(DECAY), layers)
    averaged.model.build(6, dtype="float64")
    before = state(averaged)
    fit(averaged)
    assert set(raw(averaged)) == {"2.weight", "2.bias"}
    assert all(np.array_equal(before[name], value) for name, value in state(averaged).items() if name[0] != "2")


GRAPHS = {
    "running moments": lambda: fr.Sequential([fr.Dense(5), fr.BatchNorm(), fr.Activation("relu"), fr.Dense(3)]),
    "embedding": lambda: embedded(),
}


def embedded():
    """A model whose step touches only some rows of a parameter."""
    numbers, code = fr.Input(name="numbers", columns=[0, 1]), fr.Input(name="code", columns=[2])
    return fr.Model([numbers, code], fr.Dense(3)(fr.Concatenate()([numbers, fr.Embedding(4, 3)(code)])))


@pytest.mark.parametrize("graph", GRAPHS)
def test_everything_that_training_changes_is_averaged(engine, graph):
    data = X if graph != "embedding" else np.column_stack([X[:, :2], Y])

    def made(averaging=None):
        how = {"optimizer": fr.SGD(0.3), "engine": engine, "dtype": "float64"}
        return fr.Trainer(GRAPHS[graph](), averaging=averaging, **how)

    plain, recorder = made(), Recorder()
    plain.fit(data, Y, epochs=3, batch_size=16, callbacks=recorder)
    for averaging in (fr.EMA(DECAY), fr.SWA(1)):
        averaged = made(averaging)
        averaged.fit(data, Y, epochs=3, batch_size=16)
        assert same(raw(averaged), state(plain))
        ends = {n: np.mean([s[n] for s in recorder.epochs[1:]], axis=0) for n in state(plain)}
        wanted = exponential(recorder.steps) if isinstance(averaging, fr.EMA) else ends
        close(state(averaged), wanted, rtol=1e-12, atol=1e-13)


# --- Who sees them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", [fr.EMA(DECAY), fr.SWA(1)], ids=repr)
def test_validation_callbacks_and_files_see_the_averages(engine, averaging, tmp_path):
    averaged, seen = trainer(engine, averaging), Recorder()
    best = fr.Checkpoint(tmp_path / "run.safetensors", save_best=True)
    history = fit(averaged, 6, validation_data=HELD, callbacks=[seen, best, fr.EarlyStopping(patience=9)])
    other = trainer(engine)
    other.model.build(6, dtype="float64")
    for epoch, parameters in enumerate(seen.epochs):
        other.model.load_state_dict(parameters)
        assert history["val_loss"][epoch] == other.evaluate(*HELD)["loss"]
    top = int(np.argmin(history["val_loss"]))
    assert same(state(averaged), seen.epochs[top])  # EarlyStopping has restored them
    assert same(fr.load(best.beside("best")).state_dict(), seen.epochs[top])
    assert same(fr.load(best.path).state_dict(), seen.epochs[-1])
    other.model.load_state_dict(seen.epochs[top])
    assert averaged.evaluate(*HELD) == other.evaluate(*HELD)
    assert np.array_equal(averaged.predict(X), other.predict(X))
    plain = fit(trainer(engine), 6)
    assert history["loss"] == plain["loss"]  # the loss of training is that of the raw weights


@pytest.mark.parametrize("averaging", [fr.EMA(DECAY), fr.SWA(1)], ids=repr)
def test_two_fits_are_one_and_what_is_set_between_them_counts(engine, averaging):
    once, twice = trainer(engine, averaging), trainer(engine, averaging)
    fit(once, 5)
    fit(twice, 2)
    copied = twice.copy()
    for trained in (twice, copied):
        fit(trained, 3)
        assert same(state(trained), state(once)) and same(trained.optimizer_state, once.optimizer_state)
    # set: training goes on from there, and the averages begin anew
    start = {name: value + 0.1 for name, value in state(once).items()}
    plain = trainer(engine, optimizer=fr.SGD(0.1))
    for trained in (once, plain):
        trained.optimizer = fr.SGD(0.1)
        trained.model.build(6, dtype="float64") if not trained.model.built else None
        trained.model.load_state_dict(start)
        trained.epoch, trained.batches = 5, 20
    recorder = Recorder()
    fit(once, 2)
    fit(plain, 2, callbacks=recorder)
    assert same(raw(once), state(plain))
    wanted = exponential(recorder.steps) if isinstance(averaging, fr.EMA) else None
    wanted = wanted or {n: (recorder.epochs[0][n] + recorder.epochs[1][n]) / 2 for n in start}
    close(state(once), wanted, rtol=1e-13, atol=1e-14)


def test_a_copy_in_another_dtype_goes_on_from_the_raw_weights():
    single = trainer(averaging=fr.EMA(DECAY), dtype="float32")
    fit(single)
    double = single.copy(dtype="float64")
    fit(double, 1)
    fit(single, 1)
    close(raw(double), raw(single), rtol=1e-4, atol=1e-5)
    assert double.optimizer_state["ema/count"] == 20


def test_averaging_and_optimizer_can_change(engine):
    trained, plain = trainer(engine), trainer(engine)
    fit(plain, 2)
    fit(trained, 2)
    trained.averaging = fr.EMA(DECAY)  # begins with the current weights, and Adam's moments stay
    fit(trained, 2)
    recorder = Recorder()
    fit(plain, 2, callbacks=recorder)
    assert same(raw(trained), state(plain))
    close(state(trained), exponential(recorder.steps), rtol=1e-13, atol=1e-14)
    trained.averaging = "swa(start=4)"  # another kind: the same raw weights, a new mean
    trained.optimizer = plain.optimizer = fr.SGD(0.1)
    assert trained.averaging == fr.SWA(4)
    fit(trained, 1)
    fit(plain, 1)
    assert same(raw(trained), state(plain)) and same(state(trained), state(plain))
    trained.averaging = None
    fit(trained, 1)
    assert not raw(trained)


def test_reset_begins_anew(engine):
    trained, fresh = trainer(engine, fr.EMA(DECAY)), trainer(engine, fr.EMA(DECAY))
    fit(trained)
    start = state(trained)
    trained.reset()
    fresh.model.build(6, dtype="float64")
    fresh.model.load_state_dict(start)
    for t in (trained, fresh):
        fit(t, 2)
    assert same(state(trained), state(fresh)) and same(raw(trained), raw(fresh))


# --- Cut short, resumed, diverged ----------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", [fr.EMA(DECAY), fr.SWA(3, every=2)], ids=repr)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_resumed_fit_has_the_same_bits(engine, averaging, dtype, tmp_path):
    path = tmp_path / "run.safetensors"
    how = {"averaging": averaging, "dtype": dtype}
    for stop in (2, 5):
        resumable.fit(resumable.trainer(engine, **how), path, epochs=stop)
        again = resumable.trainer(engine, **how)
        assert resumable.digest(again, resumable.fit(again, resume=path)) == resumable.whole(engine, **how)
    with pytest.raises(ValueError, match=r"resume: averaging: got None, expected (EMA|SWA)\("):
        resumable.fit(resumable.trainer(engine, dtype=dtype), resume=path)


def test_averaging_can_begin_and_end_with_a_resumed_fit(engine, tmp_path):
    path = tmp_path / "run.safetensors"
    fit(trainer(engine), 2, callbacks=fr.Checkpoint(path))
    recorder, plain = Recorder(), trainer(engine)
    fit(plain, 2)
    fit(plain, 2, callbacks=recorder)
    averaged = trainer(engine, fr.EMA(DECAY))
    with pytest.warns(UserWarning, match="resume: the averages of the weights do not go on$"):
        fit(averaged, 4, resume=path, changed=("averaging",), callbacks=fr.Checkpoint(path))
    assert same(raw(averaged), state(plain))
    close(state(averaged), exponential(recorder.steps), rtol=1e-13, atol=1e-14)
    ended = trainer(engine)
    with pytest.warns(UserWarning, match="averages"):
        fit(ended, 5, resume=path, changed=("averaging",))
    assert not raw(ended)


def test_ctrl_c_in_an_epoch_leaves_the_raw_weights_to_go_on_from(engine):
    class Interrupt(fr.Callback):
        def on_batch_end(self, batch, logs):
            if self.trainer.batches == 6:
                raise KeyboardInterrupt

    averaged, mean, plain = trainer(engine, fr.EMA(DECAY)), trainer(engine, fr.SWA(9)), trainer(engine)
    for trained in (averaged, mean, plain):
        with pytest.raises(KeyboardInterrupt):
            fit(trained, callbacks=Interrupt())
    assert same(state(mean), state(plain))  # no average so far
    for trained in (averaged, mean, plain):
        fit(trained, 1)
    assert same(raw(averaged), state(plain)) and same(raw(mean), state(plain))


@pytest.mark.parametrize("start", [0, 1, 2])
def test_ctrl_c_in_a_validation_takes_no_epoch_into_the_mean(engine, start):
    """The steps stay, and the epoch does not count: it comes again."""

    def interrupting(y, p):
        if armed and len(y) == len(HELD[1]):
            raise KeyboardInterrupt
        return 0.0

    recorder, plain, mean = Recorder(), trainer(engine), trainer(engine, fr.SWA(start))
    for trained in (plain, mean):
        trained.metrics = (interrupting,)
        armed = False
        fit(trained, 2, validation_data=HELD, callbacks=recorder if trained is plain else None)
        before, armed = state(trained), True
        with pytest.raises(KeyboardInterrupt):
            fit(trained, 1, validation_data=HELD)
        assert trained.epoch == 2 and trained.batches == 3 * 4
    assert same(raw(mean), state(plain)) and not same(state(plain), recorder.epochs[1])
    assert same(state(mean), before if start < 2 else state(plain))
    assert mean.optimizer_state["swa/count"][0] == 2 - start
    armed = False
    for trained in (plain, mean):
        fit(trained, 1, validation_data=HELD)
    counted = [*recorder.epochs[start:2], state(plain)]
    wanted = {n: np.mean([s[n] for s in counted], axis=0) for n in state(plain)}
    close(state(mean), wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("averaging", [fr.EMA(DECAY), fr.SWA(0)], ids=repr)
def test_after_divergence_all_is_as_at_the_start_of_the_epoch(engine, averaging):
    rates = fr.SGD(lambda epoch: 0.1 if epoch < 2 else 1e300)
    trained = trainer(engine, averaging, [fr.Dense(5, "relu"), fr.Dense(3)], optimizer=rates)
    fit(trained, 2)
    before, slots = state(trained), {n: v.copy() for n, v in trained.optimizer_state.items()}
    with pytest.raises(fr.DivergenceError):
        fit(trained, 1)
    assert same(state(trained), before) and same(trained.optimizer_state, slots)


# --- Engines, threads, checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_threads_and_targets_average_to_the_same_bits(dtype):
    before, found = threads.simd(), set()
    images, labels = RNG.normal(size=(70, 90)), RNG.integers(0, 5, 70)
    try:
        for target in [name for name in before["available"] if name != "generic"]:
            for count in (1, 2, 3, 7):
                threads.use_simd(target)
                trained = trainer(averaging=fr.EMA(0.99), layers=[fr.Dense(300, "relu"), fr.Dense(5)], dtype=dtype)
                trained.threads = count
                trained.fit(images, labels, epochs=3, batch_size=32)
                found.add(b"".join(v.tobytes() for v in state(trained).values()))
    finally:
        threads.use_simd(before["current"])
    assert len(found) <= 1


def test_engines_agree_and_checks_take_it():
    trained = [trainer(engine, fr.EMA(DECAY)) for engine in ("native", "reference")]
    for each in trained:
        fit(each)
    close(*map(state, trained), rtol=1e-9, atol=1e-11)
    assert fr.compare_engines(trained[0], X, Y).ok and fr.check_gradients(trained[0], X, Y, step=0).ok
    assert fr.profile(trained[0], X, Y, repeats=1, seconds=1e-4).ops[-1].op == "Average"


def test_rate_of_very_many_steps_is_exact(engine):
    """The number of the step is what the rate depends on, and no running product of it."""
    trained = trainer(engine, fr.EMA(0.999), layers=[fr.Dense(3)], dtype="float32")
    fit(trained, 1)
    trained.optimizer_state["ema/count"][0] = 4999
    before, recorder = state(trained), Recorder()
    fit(trained, 1, batch_size=60)
    rate = 0.001 / (1 - 0.999**5000)
    for name, value in state(trained).items():
        np.testing.assert_allclose(value, before[name] + rate * (raw(trained)[name] - before[name]), rtol=1e-6)
    assert not recorder.steps and trained.optimizer_state["ema/count"][0] == 5000


REFUSED = {
    "decay": (lambda: fr.EMA(1.0), r"decay: got 1\.0, expected a finite number from 0 to 0\.999999"),
    "start": (lambda: fr.SWA(-1), r"start: got -1, expected an integer of at least 0"),
    "every": (lambda: fr.SWA(1, 0), r"every: got 0, expected an integer of at least 1"),
    "number": (lambda: trainer(averaging=0.9), r"averaging: got 0\.9, expected an object such as EMA\(0\.999\)"),
    "class": (lambda: trainer(averaging=fr.EMA), r"averaging: got .*EMA"),
    "spec": (lambda: trainer(averaging="ewa(0.9)"), r"averaging: got 'ewa\(0\.9\)', expected one of ema, swa"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    make, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
