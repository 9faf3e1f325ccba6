"""One import line changed: the scores and times of five scripts with scikit-learn's MLP and with fastreg's, in turns.

    python bench/swap/compare.py [SEEDS]

Each script is a user's own, and its first argument chooses the import. For each seed it runs A B A B. The time is that
of `fit`, the median over all runs; the score is the mean over the seeds. A difference of scores within two standard
errors may be luck.
"""

import contextlib
import io
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
SCRIPTS = ("digits", "breast_cancer", "wine", "iris", "diabetes")
SIDES = ("sklearn", "fastreg")


def run(script, side, seed):
    """Score and seconds of one run."""
    printed, sys.argv = io.StringIO(), [script, side, str(seed)]
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(FOLDER / f"{script}.py"))
    score, seconds = map(float, printed.getvalue().split())
    return score, seconds


def compare(script, seeds):
    """The results of both sides, (seeds, runs, score and seconds)."""
    runs = {side: [] for side in SIDES}
    for seed in seeds:
        turns = [(side, run(script, side, seed)) for side in SIDES * 2]
        for side in SIDES:
            runs[side].append([found for which, found in turns if which == side])
    return {side: np.array(found) for side, found in runs.items()}


def main():
    """Prints a row for each script."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
    print(f"{len(seeds)} seeds; score: accuracy or R2, theirs, ours, ours - theirs +- standard error; seconds of fit")
    for script in SCRIPTS:
        found = compare(script, seeds)
        scores = {side: runs[:, :, 0].mean(axis=1) for side, runs in found.items()}
        seconds = {side: np.median(runs[:, :, 1]) for side, runs in found.items()}
        better = scores["fastreg"] - scores["sklearn"]
        error = better.std(ddof=1) / np.sqrt(len(better)) if len(better) > 1 else 0.0
        told = f"{scores['sklearn'].mean():.4f} {scores['fastreg'].mean():.4f} {better.mean():+.4f} +- {error:.4f}"
        times = f"{seconds['sklearn']:.3f} {seconds['fastreg']:.3f}"
        print(f"{script:14} {told}   {times}  {seconds['sklearn'] / seconds['fastreg']:.1f} times faster", flush=True)


if __name__ == "__main__":
    main()
