"""Layers of images in networks: shapes, gradients against PyTorch, files, same bits, checks."""

import numpy as np
import pytest
from pytorch import F, torch

import fastreg as fr

RNG = np.random.default_rng(7)
X, Y = RNG.standard_normal((40, 12, 10, 3)), RNG.integers(0, 5, 40)


def network(**options):
    return fr.Sequential(
        [
            fr.Conv2D(12, 5, "tanh", padding="same", l2=1e-3, **options),
            fr.MaxPool2D(2),
            fr.Conv2D(20, (3, 2), "silu", strides=2, use_bias=False),
            fr.AvgPool2D(2, strides=1, padding="same"),
            fr.Flatten(),
            fr.Dense(5),
        ]
    )


def trainer(model, **options):
    given = {"loss": "softmax_cross_entropy", "optimizer": fr.Adam(0.01), "seed": 3, "dtype": "float64"}
    return fr.Trainer(model, **given | options)


def kernel(model, name, size, channels):
    weight = model.parameters[f"{name}.weight"]
    return torch.tensor(np.ascontiguousarray(weight).reshape(*size, channels, -1)).permute(3, 2, 0, 1).requires_grad_()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 2e-5)])
def test_gradients_are_those_of_pytorch(dtype, tolerance):
    model = network()
    t = trainer(model, dtype=dtype)
    got = t.gradients(X, Y)
    w0, w2 = (kernel(model, *args).double().detach().requires_grad_() for args in (("0", (5, 5), 3), ("2", (3, 2), 12)))
    b0 = torch.tensor(model.parameters["0.bias"].copy()).double().requires_grad_()
    w5 = torch.tensor(model.parameters["5.weight"].copy()).double().requires_grad_()
    b5 = torch.tensor(model.parameters["5.bias"].copy()).double().requires_grad_()
    x = torch.tensor(X.astype(dtype)).double().permute(0, 3, 1, 2)
    h = F.max_pool2d(torch.tanh(F.conv2d(x, w0, b0, padding=2)), 2)
    h = F.silu(F.conv2d(h, w2, stride=2))
    h = F.avg_pool2d(F.pad(h, (0, 1, 0, 1)), 2, 1, divisor_override=1)
    counts = F.avg_pool2d(F.pad(torch.ones_like(h), (0, 1, 0, 1)), 2, 1, divisor_override=1)
    logits = (h / counts).permute(0, 2, 3, 1).reshape(len(X), -1) @ w5 + b5
    loss = F.cross_entropy(logits, torch.tensor(Y)) + 1e-3 / 2 * (w0**2).sum()
    loss.backward()
    right = {"0.weight": w0, "2.weight": w2, "0.bias": b0, "5.weight": w5, "5.bias": b5}
    for name, p in right.items():
        g = p.grad.permute(2, 3, 1, 0).reshape(got[name].shape) if p.ndim == 4 else p.grad
        assert np.abs(got[name] - g.numpy()).max() <= tolerance * g.abs().max(), name


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip_norm": 0.1}, {"l1": 1e-3}])
def test_the_same_bits_for_any_threads(options):
    found = set()
    for threads in (1, 2, 3, 7):
        model = network(max_norm=0.5)
        trainer(model, dtype="float32", threads=threads, **options).fit(X, Y, epochs=2, batch_size=16, verbose=0)
        found.add(model.predict(X).tobytes())
    assert len(found) == 1


def test_engines_agree_over_steps():
    ends = []
    for engine in ("native", "reference"):
        model = network(max_norm=0.5)
        history = trainer(model, engine=engine).fit(X, Y, epochs=3, batch_size=16, verbose=0)
        ends.append((history["loss"][-1], history["penalty"][-1], model.predict(X)))
    assert ends[0][:2] == pytest.approx(ends[1][:2], rel=1e-9)
    np.testing.assert_allclose(ends[0][2], ends[1][2], rtol=1e-8)


def test_checks_profile_and_files(tmp_path):
    model = network()
    t = trainer(model)
    t.fit(X, Y, epochs=1, verbose=0)
    assert fr.check_gradients(t, X[:8], Y[:8]).ok
    assert fr.compare_engines(trainer(network(), dtype="float32"), X, Y).ok
    profiled = fr.profile(t, X, Y, repeats=1, reference=False)
    conv = next(op for op in profiled.ops if op.op == "Conv")
    assert conv.flops == 2 * 40 * (12 * 10) * (5 * 5 * 3) * 12
    assert "Conv2D 12 x 10 x 3 to 12 x 10 x 12, tanh" in str(profiled)
    assert "(6, 5, 12)" in model.summary()
    model.save(tmp_path / "m.safetensors")
    loaded = fr.load(tmp_path / "m.safetensors")
    assert loaded.layers == model.layers
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()


def test_augmented_images_with_dropout_and_a_global_mean():
    layers = [
        fr.Conv2D(6, 3, padding="same"),
        fr.Dropout(rate=0.3),
        fr.MaxPool2D(3, strides=2, padding="same"),
        fr.Dropout(rate=0.1),
        fr.Conv2D(8, 3, "relu"),
        fr.GlobalAvgPool2D(),
        fr.Dense(5),
    ]
    model = fr.Sequential(layers)
    images = (255 * RNG.random((40, 12, 12))).astype(np.uint8)
    t = trainer(model, augment=fr.data.augment.Rotate(10))
    losses = t.fit(images / 255, Y, epochs=25, batch_size=10, verbose=0)["loss"]
    assert losses[-1] < 0.95 * losses[0]
    assert model.layer_shapes((12, 12))[3][1] == (6, 6, 6)
    assert fr.check_gradients(trainer(model), images[:6] / 255, Y[:6], step=2).ok
    assert fr.compare_engines(t, images / 255, Y).ok


def test_two_ways_through_one_convolution():
    """A layer used twice has one weight, whose gradient is the sum; values of images add up."""
    x = fr.Input((8, 8, 4))
    conv = fr.Conv2D(4, 3, "tanh", padding="same")
    h = fr.Add()(conv(conv(x)), x)
    model = fr.Model(x, fr.Dense(3)(fr.Flatten()(h)))
    images, labels = RNG.standard_normal((12, 8, 8, 4)), RNG.integers(0, 3, 12)
    assert fr.check_gradients(trainer(model), images, labels).ok


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: fr.Conv2D(8, 3), (784,), r"got samples of shape \(784,\), expected images .*; reshape X"),
        (lambda: fr.Conv2D(8, 5), (4, 9, 1), r"got images of 4 x 9 pixels, expected at least .* 5 x 5; padding='same'"),
        (lambda: fr.MaxPool2D(2), (3, 3, 3, 3), r"expected images"),
        (lambda: fr.Conv2D(8, (3, 3, 3)), None, r"kernel_size: got \(3, 3, 3\), expected a whole number or two"),
        (lambda: fr.Conv2D(8, 0), None, r"kernel_size: got 0"),
        (lambda: fr.MaxPool2D(2, padding="full"), None, r"padding: got 'full', expected one of"),
        (lambda: fr.Conv2D(8, 3, strides=1.5), None, r"strides: got 1.5"),
    ],
)
def test_what_is_refused(make, shape, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make().output_shape(shape)


def test_names_in_specs_and_calls_that_make_layers():
    from fastreg.common.specs import make
    from fastreg.layers import BY_NAME

    assert make("layer", "conv2d(8, 3)", BY_NAME) == fr.Conv2D(8, (3, 3))
    for layer in (
        fr.Conv2D(8, 3, "relu", strides=(2, 1), padding="same", use_bias=False, l2=1e-3, name="c"),
        fr.MaxPool2D(3, strides=2),
        fr.AvgPool2D((2, 1), padding="same"),
        fr.GlobalAvgPool2D(name="g"),
    ):
        assert eval(f"fr.{layer!r}", {"fr": fr, "L2": fr.L2}) == layer
