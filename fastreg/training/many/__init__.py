"""Many fits of one model: seeds, folds and searches, on the workers of a joblib backend if there is one."""

from fastreg.training.many.fits import Fit, Fits
from fastreg.training.many.folds import cross_validate
from fastreg.training.many.search import Search, grid_search, random_search
from fastreg.training.many.seeds import fit_seeds

__all__ = ["Fit", "Fits", "Search", "cross_validate", "fit_seeds", "grid_search", "random_search"]
