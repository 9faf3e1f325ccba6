"""Sparse rows, such as counts of words: seconds of fit and predict of MLPClassifier, ours and scikit-learn's.

    python bench/sparse_rows.py [--rounds 5]

Each fit is two epochs of Adam from the start, in float32. Fits of both libraries alternate; a time is the median over
the rounds.
"""

import argparse
import warnings
from time import perf_counter

import numpy as np
from scipy import sparse
from sklearn import neural_network as theirs

from fastreg import estimators as ours

CASES = [(2000, 200_000, 200, 50), (400, 200_000, 200, 50), (8000, 20_000, 80, 100)]  # rows, columns, not zero, units


def times(module, X, y, units: int) -> tuple[float, float]:
    """Seconds of fit and of predict."""
    classifier = module.MLPClassifier((units,), max_iter=2, random_state=0)
    start = perf_counter()
    classifier.fit(X, y)
    fitted = perf_counter()
    classifier.predict(X)
    return fitted - start, perf_counter() - fitted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")  # two epochs are too few to converge
    print("rows    columns  not zero  units      fit  theirs   predict  theirs")
    for rows, columns, elements, units in CASES:
        X = sparse.random_array((rows, columns), density=elements / columns, format="csr", random_state=0, dtype="f4")
        X.sort_indices()
        y = np.arange(rows) % 5
        turns = [(times(ours, X, y, units), times(theirs, X, y, units)) for _ in range(rounds)]
        (fit, predict), (their_fit, their_predict) = np.median(turns, axis=0)
        print(
            f"{rows:<7} {columns:<8} {elements:<9} {units:<6} {fit:7.3f} {their_fit:7.3f}   {predict:7.4f} "
            f"{their_predict:7.4f}"
        )


if __name__ == "__main__":
    main()
