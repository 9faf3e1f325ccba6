"""Data sets: built-in ones, readers of files, splits, standardization, augmentation."""

from fastreg.common.names import missing as _missing
from fastreg.data import augment
from fastreg.data.builtin import load
from fastreg.data.idx import load_idx_folder, read_idx
from fastreg.data.infer import fit_schema, infer_schema
from fastreg.data.inputs import inputs_of
from fastreg.data.readers import is_table, read, read_npy, read_npz
from fastreg.data.split import folds, split
from fastreg.data.standardizer import Standardizer
from fastreg.data.tables.fields import MISSING
from fastreg.data.tables.read import read_csv, read_table
from fastreg.data.target_scaler import TargetScaler
from fastreg.intake.schema import Schema
from fastreg.intake.table import Table

__all__ = [
    "MISSING",
    "Schema",
    "Standardizer",
    "Table",
    "TargetScaler",
    "augment",
    "fit_schema",
    "folds",
    "infer_schema",
    "inputs_of",
    "is_table",
    "load",
    "load_idx_folder",
    "read",
    "read_csv",
    "read_idx",
    "read_npy",
    "read_npz",
    "read_table",
    "split",
]

__getattr__ = _missing(__name__, __all__)
