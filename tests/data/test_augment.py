"""Augmentation: against SciPy, and one engine against the other. Nothing irrelevant changes the bits."""

import pickle

import numpy as np
import pytest
import resumable

import fastreg as fr
import fastreg.reference as R
from fastreg.data.augment import Compose, Crop, Cutout, Elastic, Flip, Resize, Rotate, Shear, Translate
from fastreg.machine import threads
from fastreg.program.riders import PURPOSE_AUGMENT, Transform, stream
from fastreg.reference.augment import affine_map, displacements

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 28, 28), np.uint8)
WIDE = RNG.normal(size=(9, 37, 21)).astype(np.float32)
COLOUR = RNG.integers(0, 256, (7, 13, 19, 3), np.uint8)
EVERY = Compose([Rotate(40), Translate(0.2), Resize(0.3), Crop(0.6), Shear(20), Flip(), Flip("vertical")])
BENT = Compose([*EVERY.parts, Elastic(20, 3)])
CUT = Compose([*BENT.parts, Cutout(9), Cutout(4, p=0.5)])
SINGLE = {
    "rotate": Rotate(360),
    "translate": Translate((-1, 1)),
    "resize": Resize((0.1, 10)),
    "crop": Crop((0.1, 0.9)),
    "shear": Shear(80),
    "flip": Flip(),
    "flip vertical": Flip("vertical"),
    "elastic": Elastic(34, 4),
    "elastic narrow": Elastic(100, 50),  # its Gaussian is wider than the image
    "every affine": EVERY,
    "all": BENT,
    "cutout": Cutout(6, p=0.7),
    "all cut": CUT,
}


def drawn(augment, shape, seed, epoch, position):
    """Matrix, offset and displacements at a position, from the reference."""
    key = R.Key(seed, epoch, stream(PURPOSE_AUGMENT, 0), position)
    matrix, offset = affine_map(augment.transforms, *shape, key)
    return matrix, offset, displacements(augment.elastic, *shape, key) if augment.elastic else None


# --- Against others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("images", [GREY, WIDE], ids=["uint8", "float32"])
def test_affine_maps_are_those_of_scipy(engine, images):
    ndimage = pytest.importorskip("scipy.ndimage")
    got = EVERY.apply(images, seed=2**40 + 3, epoch=5, engine=engine)
    for number, image in enumerate(images):
        matrix, offset, _ = drawn(EVERY, image.shape, 2**40 + 3, 5, number)
        wanted = ndimage.affine_transform(image.astype(float), matrix, offset, order=1, mode="grid-constant", cval=0)
        np.testing.assert_allclose(got[number], wanted, rtol=0, atol=1e-5 * np.ptp(images.astype(float)))


BY_HAND = {  # of amounts that are no draws: the map of the docstring, from (y, x, 1) about the centre, by H and W
    "rotate": (Rotate((30, 30)), lambda H, W: [[0.75**0.5, 0.5, 0], [-0.5, 0.75**0.5, 0]]),
    "translate": (Translate((0.1, 0.1)), lambda H, W: [[1, 0, -0.1 * H], [0, 1, -0.1 * W]]),
    "resize": (Resize((0.8, 0.8)), lambda H, W: [[1.25, 0, 0], [0, 1.25, 0]]),
    "shear": (Shear((45, 45)), lambda H, W: [[1, 0, 0], [1, 1, 0]]),
    "flip": (Flip(p=1.0), lambda H, W: [[1, 0, 0], [0, -1, 0]]),
    "flip vertical": (Flip("vertical", p=1.0), lambda H, W: [[-1, 0, 0], [0, 1, 0]]),
}


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("names", [[name] for name in BY_HAND] + [[*BY_HAND], [*BY_HAND][::-1]], ids="-".join)
def test_maps_are_those_of_the_docstrings(engine, names):
    """Each alone, and the product of all: the last one is inverted first."""
    ndimage = pytest.importorskip("scipy.ndimage")
    for images in (GREY[:3], WIDE[:3]):
        H, W = images.shape[1:]
        product = np.eye(3)
        for name in names:
            product = product @ [*BY_HAND[name][1](H, W), [0, 0, 1]]
        matrix, centre = product[:2, :2], np.array([(H - 1) / 2, (W - 1) / 2])
        got = Compose([BY_HAND[name][0] for name in names]).apply(images, engine=engine)
        for image, made in zip(images.astype(float), got, strict=True):
            offset = product[:2, 2] + centre - matrix @ centre
            wanted = ndimage.affine_transform(image, matrix, offset, order=1, mode="grid-constant", cval=0)
            np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5 * np.ptp(images.astype(float)))


@pytest.mark.parametrize("part", [Rotate, Translate, Resize, Crop, Shear, Flip])
def test_docstrings_have_the_formula(part):
    assert "x' = " in part.__doc__ and "y' = " in part.__doc__


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_large_images_are_as_exact(engine):
    ndimage = pytest.importorskip("scipy.ndimage")
    image, augment = RNG.random((1, 500, 700), np.float32), Compose([Rotate((33, 34)), Resize((0.9, 1.1))])
    matrix, offset, _ = drawn(augment, image.shape[1:], 0, 0, 0)
    wanted = ndimage.affine_transform(
        image[0].astype(float), matrix, offset, order=1, mode="grid-constant", cval=0, output=np.float64
    )
    np.testing.assert_allclose(augment.apply(image, engine=engine)[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_elastic_is_smoothed_noise_in_one_pass(engine):
    ndimage = pytest.importorskip("scipy.ndimage")
    augment = Compose([Rotate(20), Elastic(34, 4)])
    got = augment.apply(GREY, seed=7, epoch=1, engine=engine)
    for number, image in enumerate(GREY[:5]):
        matrix, offset, _ = drawn(augment, (28, 28), 7, 1, number)
        fields = []
        for direction in (1, 2):
            key = R.Key(7, 1, stream(PURPOSE_AUGMENT, direction), number)
            uniform = (R.draws(key, 1, 784).reshape(28, 28) + 0.5) / 32768 - 1
            fields.append(34 * ndimage.gaussian_filter(uniform, 4, mode="constant"))
        at = np.tensordot(matrix, np.mgrid[0:28, 0:28] + np.stack(fields), axes=1) + offset[:, None, None]
        wanted = ndimage.map_coordinates(image.astype(float), at, order=1, mode="grid-constant", cval=0)
        np.testing.assert_allclose(got[number], wanted, rtol=0, atol=255e-5)


def test_the_spread_of_displacements_is_as_documented():
    _, _, fields = drawn(Elastic(100, 4), (200, 200), 0, 0, 0)
    inside = np.stack(fields)[:, 20:-20, 20:-20]
    assert 0.7 < inside.std() / (100 / (6 * 4)) < 1.3


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_right_angles_shifts_and_flips_move_pixels_exactly(engine):
    square = GREY.astype(np.float32)

    def got(augment, images=GREY):
        return augment.apply(images, engine=engine)

    exact = np.array_equal if engine == "native" else lambda a, b: np.allclose(a, b, atol=1e-3)
    for turns in (-1, 1, 2, 3):
        assert exact(got(Rotate((90 * turns, 90 * turns))), np.rot90(square, turns, (1, 2)))
    assert np.array_equal(got(Flip(p=1.0)), square[:, :, ::-1])
    assert np.array_equal(got(Flip("vertical", p=1.0)), square[:, ::-1])
    shifted = np.zeros_like(square)
    shifted[:, 7:, 7:] = square[:, :-7, :-7]
    assert np.array_equal(got(Translate((0.25, 0.25))), shifted)
    assert not got(Translate((1, 1))).any()
    assert np.array_equal(got(Compose([Flip(p=1.0), Flip("vertical", p=1.0)])), square[:, ::-1, ::-1])


def test_positive_angles_and_shifts_have_their_documented_direction():
    image = np.zeros((1, 21, 21), np.uint8)
    image[0, 2, 10] = 100  # at the top, in the middle
    column = np.arange(21.0)

    def middle(augment):
        rows, columns = augment.apply(image)[0].sum(axis=1), augment.apply(image)[0].sum(axis=0)
        return rows @ column / rows.sum(), columns @ column / columns.sum()

    assert middle(Shear((45, 45))) == pytest.approx((2, 18), abs=0.1)  # to the right
    assert middle(Rotate((45, 45)))[1] < 6  # counterclockwise, to the left
    assert middle(Resize((0.5, 0.5)))[0] == pytest.approx(6, abs=0.3)
    assert middle(Crop((0.8, 0.8)))[0] < 10


def test_a_composition_is_the_transforms_one_after_the_other():
    twice = Compose([Translate((0.25, 0.25)), Rotate((90, 90))]).apply(GREY)
    first = Translate((0.25, 0.25)).apply(GREY)
    assert np.array_equal(twice, np.rot90(first, 1, (1, 2)))


@pytest.mark.parametrize(
    "augment", [Rotate(0), Translate(0), Resize(0), Crop(1), Shear(0), Flip(p=0), Elastic(0, 4), Cutout(5, 0)], ids=str
)
def test_transforms_by_nothing_leave_the_pixels(engine, augment):
    for images in (GREY, WIDE, COLOUR, WIDE.astype(np.float64)):
        dtype = "float64" if images.dtype == np.float64 else "float32"
        assert np.array_equal(augment.apply(images, engine=engine, dtype=dtype), images)


def test_shifts_are_drawn_uniformly():
    centre, image = [], np.zeros((2000, 9, 9), np.uint8)
    image[:, 4, 4] = 1
    moved = Translate(0.25).apply(image)
    centre = moved.sum(axis=2) @ np.arange(9), moved.sum(axis=1) @ np.arange(9)
    shifts = (np.stack(centre) - 4) / 9
    assert np.abs(shifts).max() <= 0.25 + 1e-6 and np.abs(shifts).max() > 0.249
    assert np.abs(shifts.mean(axis=1)).max() < 0.02
    assert np.allclose(shifts.std(axis=1), 0.5 / np.sqrt(12), rtol=0.05)
    assert abs(np.corrcoef(*shifts)[0, 1]) < 0.1
    flipped = (Flip(p=0.3).apply(GREY[:1].repeat(2000, axis=0)) != GREY[0]).any(axis=(1, 2))
    assert 0.25 < flipped.mean() < 0.35


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_a_cutout_is_a_square_about_any_pixel_in_all_channels(engine, size):
    """Every image against all squares that there are; and every middle comes as often as another."""
    images = np.ones((2000, 5, 9, 3), np.uint8)
    got = Cutout(size).apply(images, seed=3, engine=engine)
    assert (got == got[..., :1]).all()
    views = {}
    for y in range(5):
        for x in range(9):
            view = np.ones((5, 9))
            view[max(y - size // 2, 0) : y - size // 2 + size, max(x - size // 2, 0) : x - size // 2 + size] = 0
            views.setdefault(view.tobytes(), []).append((y, x))
    found = [got[i, :, :, 0].astype(float).tobytes() for i in range(2000)]
    assert set(found) == set(views)
    for view, middles in views.items():
        expected = 2000 * len(middles) / 45
        assert abs(found.count(view) - expected) < 5 * expected**0.5


def test_a_cutout_is_drawn_with_its_probability():
    images = np.ones((2000, 8, 8), np.uint8)
    cut = (Cutout(3, p=0.3).apply(images) == 0).any(axis=(1, 2))
    assert 0.25 < cut.mean() < 0.35
    two = (Compose([Cutout(1), Cutout(1)]).apply(images) == 0).sum(axis=(1, 2))
    assert set(two) == {1, 2} and abs((two == 1).mean() - 1 / 64) < 0.015  # each has its own place


def test_cutouts_come_after_the_other_transforms(engine):
    """Zeros are where the cutout of that number puts them, and everything else is as without it."""
    kept = BENT.apply(WIDE, 3, 1, engine=engine)
    got = Compose([*BENT.parts, Cutout(9)]).apply(WIDE, 3, 1, engine=engine)
    for number in range(len(WIDE)):
        key = R.Key(3, 1, stream(PURPOSE_AUGMENT, 0), number)
        words = R.philox((7, number, 1, key.stream), (3, 0))
        y, x = int(words[1]) * 37 >> 32, int(words[2]) * 21 >> 32
        wanted = kept[number].copy()
        wanted[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = 0
        assert np.array_equal(got[number], wanted)


# --- Engines, targets, threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SINGLE)
def test_engines_agree(name, dtype):
    for images in (GREY[:6], COLOUR[:3], WIDE[:3]):
        native, reference = (SINGLE[name].apply(images, 9, 4, dtype=dtype, engine=e) for e in ("native", "reference"))
        limit = (1e-3 if "elastic" in name or name.startswith("all") else 5e-4) if dtype == "float32" else 1e-9
        np.testing.assert_allclose(native, reference, rtol=0, atol=limit * max(1, images.max() / 100))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_target_or_threads(dtype):
    before = threads.simd()
    fused = [name for name in before["available"] if name != "generic"]
    try:
        for images in (GREY, COLOUR, COLOUR.transpose(0, 3, 1, 2), WIDE):
            found = set()
            for target in fused:
                for count in (1, 2, 3, 7):
                    threads.use_simd(target)
                    fr.set_num_threads(count)
                    found.add(CUT.apply(images, 1, 2, dtype=dtype).tobytes())
            assert len(found) <= 1
    finally:
        fr.set_num_threads(None)
        threads.use_simd(before["current"])


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_layouts_strides_and_dtypes_are_the_same_image(engine, tmp_path):
    def got(images, augment=BENT):
        return augment.apply(images, 3, 1, engine=engine)

    last = got(COLOUR)
    first = got(COLOUR.transpose(0, 3, 1, 2))  # strided, too
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))
    for channel in range(3):  # the draws do not depend on the channels
        assert np.array_equal(got(COLOUR[..., channel]), last[..., channel])
    assert np.array_equal(got(np.ascontiguousarray(COLOUR.transpose(0, 3, 1, 2))), first)
    assert np.array_equal(got(COLOUR[:, ::-1])[:, 0, 0], got(COLOUR[:, ::-1].copy())[:, 0, 0])
    for dtype in ("i2", "i8", "f4", "f8", "f2", ">i4"):
        assert np.array_equal(got(COLOUR.astype(dtype)), last)
    np.save(tmp_path / "images.npy", COLOUR)
    assert np.array_equal(got(np.load(tmp_path / "images.npy", mmap_mode="r")), last)
    two = COLOUR[..., :2]
    assert np.array_equal(got(two, Compose([*BENT.parts], channels="last")), last[..., :2])


def test_a_position_has_its_view_whatever_is_around_it():
    whole = BENT.apply(np.repeat(GREY[:1], 40, axis=0), 5, 3)
    assert len({view.tobytes() for view in whole}) == 40
    assert np.array_equal(BENT.apply(GREY[:1], 5, 3)[0], whole[0])
    other_epoch, other_seed = BENT.apply(GREY, 5, 4), BENT.apply(GREY, 2**32 + 5, 3)
    assert not np.array_equal(BENT.apply(GREY, 5, 3), other_epoch)
    assert not np.array_equal(BENT.apply(GREY, 5, 3), other_seed)


# --- Training ------------------------------------------------------------------------------------------------------

LABELS = np.arange(40) % 3
MODEL = [fr.Flatten(), fr.Dropout(keep_prob=0.9), fr.Dense(8, "relu"), fr.Dense(3)]


def trainer(engine="native", layers=MODEL, **settings):
    settings = {"augment": CUT, "seed": 4, "optimizer": fr.SGD(1e-4, momentum=0.9)} | settings
    return fr.Trainer(fr.Sequential(layers), engine=engine, **settings)


def test_training_sees_what_apply_shows(engine):
    plain = [fr.Flatten(), fr.Dense(3)]
    seen, shown = trainer(engine, plain), trainer(engine, plain, augment=None)
    seen.fit(GREY, LABELS, epochs=3, batch_size=16, shuffle=False)
    for epoch in range(3):
        views = CUT.apply(GREY, seed=4, epoch=epoch, engine=engine)
        shown.fit(views, LABELS, batch_size=16, shuffle=False)
    for name, value in seen.model.state_dict().items():
        assert np.array_equal(value, shown.model.state_dict()[name])


def test_augmented_before_standardized_and_noise(engine):
    scaled = fr.data.Standardizer().fit(GREY.astype(float) + RNG.normal(size=GREY.shape))
    layers = [scaled, fr.Flatten(), fr.GaussianNoise(0.1), fr.Dense(3)]
    seen, shown = trainer(engine, layers), trainer(engine, layers, augment=None)
    seen.fit(GREY, LABELS, batch_size=16, shuffle=False)
    shown.fit(CUT.apply(GREY, seed=4, engine=engine), LABELS, batch_size=16, shuffle=False)
    for name, value in seen.model.state_dict().items():
        assert np.array_equal(value, shown.model.state_dict()[name])


def test_only_training_is_augmented(engine):
    trained = trainer(engine)
    history = trained.fit(GREY, LABELS, validation_data=(GREY, LABELS))
    plain = trained.copy()
    plain.augment = None
    assert np.array_equal(trained.predict(GREY), plain.predict(GREY))
    assert trained.evaluate(GREY, LABELS) == plain.evaluate(GREY, LABELS)
    assert history["val_loss"][0] == plain.evaluate(GREY, LABELS)["loss"]
    gradients = [t.gradients(GREY, LABELS) for t in (trained, plain)]
    assert all(np.array_equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_threads_and_targets_train_to_the_same_bits():
    before, found = threads.simd(), set()
    try:
        for target in [name for name in before["available"] if name != "generic"]:
            for count in (1, 2, 5):
                threads.use_simd(target)
                trained = trainer(threads=count)
                trained.fit(GREY, LABELS, epochs=2, batch_size=16)
                found.add(b"".join(v.tobytes() for v in trained.model.state_dict().values()))
    finally:
        threads.use_simd(before["current"])
    assert len(found) <= 1


def test_engines_train_alike():
    losses = [trainer(e, dtype="float64").fit(GREY, LABELS, epochs=3)["loss"] for e in ("native", "reference")]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_compare_engines_and_profile_take_it():
    trained = trainer()
    trained.model.build((28, 28))
    assert fr.compare_engines(trained, GREY, LABELS).ok
    assert fr.profile(trained, GREY, LABELS, repeats=1, seconds=1e-4).ops[0].op == "Gather"


def test_a_resumed_fit_has_the_same_bits(engine, tmp_path):
    path = tmp_path / "run.safetensors"

    def fit(epochs, callbacks=(), resume=None, **settings):
        trained = trainer(engine, **settings)
        history = trained.fit(GREY, LABELS, epochs=epochs, batch_size=16, callbacks=list(callbacks), resume=resume)
        return resumable.digest(trained, history)

    fit(2, [fr.Checkpoint(path)])
    assert fit(4, resume=path) == fit(4)
    with pytest.raises(ValueError, match=r"resume: augment: got Rotate\(degrees=5\.0\), expected Compose\(parts="):
        fit(4, resume=path, augment=Rotate(5))


def test_a_bad_row_of_a_memory_map_is_named(tmp_path):
    images = GREY.astype(np.float32)
    images[31, 3, 3] = np.nan
    np.save(tmp_path / "images.npy", images)
    bad = np.load(tmp_path / "images.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="row 31 of the data holds a value that is not finite"):
        trainer().fit(bad, LABELS)
    with pytest.raises(ValueError, match="images: row 31"):
        BENT.apply(bad)


# --- Descriptions and bad input ------------------------------------------------------------------------------------


def test_descriptions_compare_print_and_pickle():
    assert Compose([Rotate(15), Flip()]) == Compose((Rotate(15.0), Flip("horizontal", 0.5)))
    assert repr(Compose([Rotate((5, 10)), Flip(p=0.25)], channels="last")) == (
        "Compose((Rotate((5, 10)), Flip(p=0.25)), channels='last')"
    )
    assert pickle.loads(pickle.dumps(BENT)) == BENT
    assert trainer().copy().augment == CUT
    assert Compose([Compose([Rotate(1), Flip()]), Elastic(1, 2)]).on((5, 5)).transforms[0] == Transform("rotate", -1, 1)
    assert Compose([Compose([Rotate(1)], channels="first"), Flip()]).on((3, 4, 5)).layout == (3, 4, 5, 1)


def test_channels_of_a_part_are_those_of_the_whole(engine):
    """Both sides of (3, 6, 5) and of (5, 6, 7) leave open, or lead to guess wrong, what a part has said."""
    for shape in ((3, 6, 5), (5, 6, 7), (3, 6, 3)):
        images = RNG.normal(size=(4, *shape)).astype(np.float32)
        for channels, axis in (("last", 2), ("first", 3)):
            inner = Compose([Flip(p=1.0)], channels=channels)
            for augment in (Compose([inner, Translate(0)]), Compose([Translate(0), Compose([inner])])):
                assert np.array_equal(augment.apply(images, engine=engine), np.flip(images, axis))


REFUSED = {
    "degrees": (lambda: Rotate(361), r"degrees: got 361, expected a finite number from 0 to 360"),
    "degrees negative": (lambda: Rotate(-5), r"degrees: got -5, expected a finite number from 0 to 360"),
    "degrees text": (lambda: Rotate("5"), r"degrees: got '5', expected a number"),
    "degrees order": (lambda: Rotate((5, -5)), r"degrees: got \(5, -5\), expected the lowest first"),
    "degrees three": (lambda: Rotate((1, 2, 3)), r"degrees: got \(1, 2, 3\), expected a number or a pair"),
    "fraction": (lambda: Translate(2), r"fraction: got 2, expected a finite number from 0 to 1"),
    "factor": (lambda: Resize(1.1), r"factor: got 1\.1, expected a finite number from 0 to 0\.9"),
    "factor pair": (lambda: Resize((0, 1)), r"factor: got 0, expected a finite number from 0\.1 to 10"),
    "share": (lambda: Crop(0), r"share: got 0, expected a finite number from 0\.1 to 1"),
    "share pair": (lambda: Crop((0.5, 1.5)), r"share: got 1\.5, expected a finite number from 0\.1 to 1"),
    "shear": (lambda: Shear(90), r"degrees: got 90, expected a finite number from 0 to 80"),
    "axis": (lambda: Flip("both"), r"axis: got 'both', expected one of horizontal, vertical"),
    "p": (lambda: Flip(p=1.5), r"p: got 1\.5, expected a finite number from 0 to 1"),
    "alpha": (lambda: Elastic(np.nan, 4), r"alpha: got nan, expected a finite number"),
    "sigma": (lambda: Elastic(34, 0), r"sigma: got 0, expected a finite number from 0\.1 to 100"),
    "parts one": (lambda: Compose(Rotate(5)), r"parts: got Rotate\(5\), expected a list such as"),
    "parts none": (lambda: Compose([]), r"parts: got none, expected at least one"),
    "parts text": (lambda: Compose([Rotate(5), "flop"]), r"parts\[1\]: got 'flop', .*; the nearest is 'flip'"),
    "parts many": (lambda: Compose([Flip()] * 17), r"parts: got 17 transforms, expected at most 16"),
    "elastic first": (
        lambda: Compose([Elastic(1, 1), Flip()]),
        r"parts: got Elastic before another transform, expected Elastic",
    ),
    "cutout first": (
        lambda: Compose([Compose([Flip(), Cutout(3)]), Elastic(1, 1)]),
        r"parts: got Cutout before another transform, expected Cutout last",
    ),
    "cutout size": (lambda: Cutout(0), r"size: got 0, expected an integer from 1 to 10000"),
    "cutout share": (lambda: Cutout(0.5), r"size: got 0\.5, expected an integer"),
    "channels": (lambda: Compose([Flip()], channels="none"), r"channels: got 'none', expected one of first, last"),
    "channels of parts": (
        lambda: Compose([Compose([Flip()], channels="first"), Rotate(5)], channels="last"),
        r"channels: got 'last' with 'first' in a part, expected the same",
    ),
    "rows": (lambda: Flip().apply(np.ones((2, 9))), r"images: got samples of shape \(9,\), expected images"),
    "ambiguous": (lambda: Flip().apply(np.ones((2, 3, 5, 3))), r"channels may be first or last"),
    "neither": (lambda: Flip().apply(np.ones((2, 5, 5, 5))), r"channels may be first or last"),
    "four": (lambda: Flip().apply(np.ones((2, 2, 2, 2, 2))), r"images: got samples of shape \(2, 2, 2, 2\)"),
    "seed": (lambda: Flip().apply(GREY, seed=-1), r"seed: got -1"),
    "epoch": (lambda: Flip().apply(GREY, epoch=-1), r"epoch: got -1"),
    "engine": (lambda: Flip().apply(GREY, engine="Rust"), r"engine: got 'Rust'"),
    "setting": (lambda: trainer(augment="rotate"), r"augment: got 'rotate', expected rotate\(degrees\): missing"),
    "setting class": (lambda: trainer(augment=Flip), r"augment: got <class .*Flip'>, expected an object of"),
    "fit": (
        lambda: trainer(layers=[fr.Dense(3)]).fit(GREY.reshape(40, 784), LABELS),
        r"X: got samples of shape \(784,\), expected images \(H, W\), .*X\.reshape\(-1, H, W\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    make, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_one_pixel_and_thin_images(engine):
    for shape in ((2, 1, 1), (2, 1, 40), (2, 40, 1)):
        images = RNG.random(shape, np.float32)
        assert np.array_equal(Rotate(0).apply(images, engine=engine), images)
        got, wanted = (BENT.apply(images, engine=e) for e in ("native", "reference"))
        np.testing.assert_allclose(got, wanted, atol=1e-5)
