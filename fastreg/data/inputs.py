"""Where a model in the functional style begins that takes the rows of a schema: numbers, and vectors of categories."""

from __future__ import annotations

import math

from fastreg.common import checking
from fastreg.common.understood import understood
from fastreg.intake.schema import Schema
from fastreg.layers import Concatenate, Embedding, Input, Standardize, Value


@understood
def inputs_of(schema: Schema, width: int | None = None) -> tuple[list[Input], Value]:
    """The inputs for the rows of a schema, and one value of them all: scaled numbers, and an `Embedding` of the columns
    that `infer_schema(..., categories="codes")` has made codes of, one for all that have vectors of the same length.

    The last code of a column stands for holes and for texts that were not in training. Its vector is trained where
    training has holes, and stays as drawn elsewhere.

    Parameters
    ----------
    schema : Schema
    width
        The length of the vectors. By default that of a column of n codes is the power of two, from 2 to 32, which is
        next to 1.6 n^0.56.

    Returns
    -------
    inputs : list of Input
    value : Value
        What the layers of the model are to be called on.

    Raises
    ------
    ValueError, TypeError
        The schema has no columns, or width is not as described.

    Examples
    --------
    >>> import fastreg as fr
    >>> table = fr.data.Table({"size": [1.0, 2.0, 3.0, 4.0], "town": ["rome", "oslo", "rome", "bonn"]})
    >>> schema = fr.data.infer_schema(table, [1.5, 2.5, 3.5, 3.0], categories="codes")
    >>> inputs, x = fr.data.inputs_of(schema, width=2)
    >>> model = fr.Model(inputs, fr.Dense(1)(x))
    >>> model.schema = schema
    >>> history = fr.Trainer(model).fit(table, [1.5, 2.5, 3.5, 3.0], epochs=2)
    >>> model.predict(fr.data.Table({"size": [2.0], "town": ["paris"]})).shape
    (1, 1)
    """
    if not isinstance(schema, Schema):
        raise TypeError(f"schema: got {checking.shown(schema)}, expected one of fr.data.infer_schema")
    if schema.columns is None:
        raise ValueError("schema: got one without columns, expected one of a table")
    length = None if width is None else checking.integer("width", width, high=checking.MAX_WIDTH)
    inputs: list[Input] = []
    values: list[Value] = []
    numbers: list[int] = []
    groups: dict[int, list[tuple[int, int]]] = {}  # by the length of their vectors: places and counts of columns
    start = 0
    for column in schema.columns:
        if column.coded:
            count = len(column.values) + 1
            groups.setdefault(length or _usual_length(count), []).append((start, count))
        else:
            numbers += range(start, start + column.width)
        start += column.width
    for own, columns in groups.items():
        codes = Input(columns=[place for place, _ in columns])
        inputs.append(codes)
        values.append(Embedding(tuple(count for _, count in columns), own)(codes))
    if numbers:
        plain = Input(columns=numbers)
        inputs.insert(0, plain)
        scaled: Value = plain
        if schema.mean is not None and schema.factor is not None:
            mean, factor = (tuple(each[j] for j in numbers) for each in (schema.mean, schema.factor))
            scaled = Standardize(mean, factor)(plain)
        values.insert(0, scaled)
    return inputs, values[0] if len(values) == 1 else Concatenate()(values)


def _usual_length(count: int) -> int:
    """The length of the vectors of so many codes."""
    return int(2 ** min(5, max(1, round(math.log2(1.6 * count**0.56)))))
