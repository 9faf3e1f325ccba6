"""augment: what the pictures must show, and accuracy with and without."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.augment import COLUMNS, ROWS, WAYS, pictures


def test_the_grid_begins_with_the_images_themselves():
    images = np.random.default_rng(0).random((ROWS, 28, 28)).astype(np.float32)
    grid = np.array(pictures(images))
    assert grid.shape == (ROWS, COLUMNS, 28, 28) and grid.min() >= 0 and grid.max() <= 255
    assert np.abs(grid[:, 0] - 255 * images).max() <= 0.5
    for view in range(1, COLUMNS):
        assert np.abs(grid[:, view] - grid[:, 0]).mean() > 5 and np.abs(grid[:, view] - grid[:, view - 1]).mean() > 5


def test_a_view_keeps_the_ink_near_its_place():
    images = np.zeros((ROWS, 28, 28), np.float32)
    images[:, 10:18, 10:18] = 1
    grid = np.array(pictures(images)) / 255
    assert grid.sum(axis=(2, 3)) == pytest.approx(np.full((ROWS, COLUMNS), 64), rel=0.35)
    places = np.einsum("rcyx,y->rc", grid, np.arange(28)) / grid.sum(axis=(2, 3))
    assert places == pytest.approx(np.full((ROWS, COLUMNS), 13.5), abs=4)


def test_augmentation_raises_the_accuracy_on_test_images():
    for run in quick("augment").runs:
        assert run["none"]["train"] > 0.999
        assert min(run["affine"]["test"], run["affine and elastic"]["test"]) > run["none"]["test"]


def test_the_claims_can_fail():
    same = {way: {"train": 1.0, "test": 0.9} for way in WAYS}
    assert claims_of("augment", same) == [False, False, False]
