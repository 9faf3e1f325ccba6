"""These layers give these ops: a table of how layers, losses and options of a trainer become a program.

An op is written as its name, what it works on, and what rides on it (+). Layers are called by their position.

    dense 0 relu +mask      a dense layer, its activation and a dropout in one pass
    dx 2 through relu       the gradient below layer 2, times the derivative of the ReLU there
    dw 0 sgd                the gradient of weight and bias of layer 0, and at once their update
    |                       a barrier: before this op all workers wait for each other
    2x                      also for the perturbed rows of an attack
"""

import numpy as np
import pytest

import fastreg as fr
from fastreg.data import augment
from fastreg.program import embedding, ops

HIDDEN, HEAD = fr.Dense(4, "relu"), fr.Dense(3)
WIDE = fr.Dense(300, "relu")  # its workers share columns, not rows
DOUBLE = fr.Function(lambda x: 2 * x, lambda dy, x, y: 2 * dy)
STANDARDIZE = fr.data.Standardizer().fit(np.eye(6))
BINARY = {"loss": "sigmoid_cross_entropy"}

TRAINING = {
    "a network without any regularization": (
        [HIDDEN, HEAD],
        {},
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy;
           dx 1 through relu; | dw 1 sgd; dw 0 sgd; totals""",
    ),
    "in bfloat16 an operand of an op that rounds nothing is rounded by a pass of its own": (
        [HIDDEN, DOUBLE, HEAD],
        {"precision": "bfloat16"},
        """gather inputs; dense 0 relu; | call; | round 1.y; dense 2; loss softmax_cross_entropy;
           dx 2 through linear; | call; | elementwise through relu; dw 2 sgd; bias_dw 2 sgd; round d:0.y;
           | dw 0 sgd; bias_dw 0 sgd; totals""",
    ),
    "the derivative of a GELU needs the pre-activation, which is stored": (
        [fr.Dense(4, "gelu"), HEAD],
        {},
        """gather inputs; dense 0 gelu +z; dense 1; loss softmax_cross_entropy;
           dx 1 through gelu +z; | dw 1 sgd; dw 0 sgd; totals""",
    ),
    "the targets of other losses are gathered, too": (
        [HIDDEN, HEAD],
        {"loss": "mse"},
        """gather targets; gather inputs; dense 0 relu; dense 1; loss mse;
           dx 1 through relu; | dw 1 sgd; dw 0 sgd; totals""",
    ),
    "dropout rides on the op before it": (
        [fr.Dropout(rate=0.2), HIDDEN, fr.Dropout(rate=0.5), HEAD],
        {},
        """gather inputs +mask; dense 1 relu +mask; dense 3; loss softmax_cross_entropy;
           dx 3 through relu +mask; | dw 3 sgd; dw 1 sgd; totals""",
    ),
    "a second dropout finds no place and gets a pass of its own": (
        [HIDDEN, fr.Dropout(rate=0.2), fr.Dropout(rate=0.5), HEAD],
        {},
        """gather inputs; dense 0 relu +mask; elementwise +mask; dense 3; loss softmax_cross_entropy;
           dx 3 through linear; elementwise +mask through relu +mask; | dw 3 sgd; dw 0 sgd; totals""",
    ),
    "raw data are standardized and made noisy as they are gathered": (
        [STANDARDIZE, fr.GaussianNoise(0.1), HIDDEN, HEAD],
        {},
        """gather inputs +standardize +noise; dense 2 relu; dense 3; loss softmax_cross_entropy;
           dx 3 through relu; | dw 3 sgd; dw 2 sgd; totals""",
    ),
    "noise rides on a linear layer, but not on an activation": (
        [fr.Dense(4), fr.GaussianNoise(0.1), HIDDEN, fr.GaussianNoise(0.1), HEAD],
        {},
        """gather inputs; dense 0 +noise; dense 2 relu; elementwise +noise; dense 4; loss softmax_cross_entropy;
           dx 4 through linear; elementwise through relu; dx 2 through linear;
           | dw 4 sgd; dw 2 sgd; dw 0 sgd; totals""",
    ),
    "noise on weights is a noisy copy, made once a batch": (
        [fr.Dense(4, "relu", weight_noise=0.1), fr.Dense(3, preactivation_noise=0.1)],
        {},
        """perturb 0; gather inputs; | dense 0 relu +noisy; dense 1 +noise; loss softmax_cross_entropy;
           dx 1 through relu; | dw 1 sgd; dw 0 sgd; totals""",
    ),
    "penalties on weights and on outputs add no op": (
        [fr.Dense(4, "relu", activity_l1=0.1, l1=0.01), HEAD],
        {"l2": 0.1},
        """gather inputs; dense 0 relu +activity; dense 1; loss softmax_cross_entropy;
           dx 1 through relu +activity; | dw 1 sgd; dw 0 sgd; totals +activity""",
    ),
    "the optimizer is a rule of the update": (
        [HIDDEN, HEAD],
        {"optimizer": fr.AdamW(0.1), "loss": fr.losses.SoftmaxCrossEntropy(label_smoothing=0.1)},
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy +smoothing;
           dx 1 through relu; | dw 1 adam; dw 0 adam; totals""",
    ),
    "the way back ends at the lowest layer that is trained": (
        [fr.Dense(4, "relu", trainable=False), HIDDEN, HEAD],
        {},
        """gather inputs; dense 0 relu; dense 1 relu; dense 2; loss softmax_cross_entropy;
           dx 2 through relu; | dw 2 sgd; dw 1 sgd; totals""",
    ),
    "wide layers wait for each other": (
        [WIDE, WIDE, HEAD],
        {},
        """gather inputs; dense 0 relu; | dense 1 relu; | dense 2; loss softmax_cross_entropy;
           dx 2 through relu; | dw 2 sgd; dx 1 through relu; | dw 1 sgd; dw 0 sgd; totals""",
    ),
    "clipping by norm needs all gradients before the first update": (
        [HIDDEN, HEAD],
        {"clip_norm": 1.0},
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy;
           dx 1 through relu; | dw 1 raw; dw 0 raw;
           | penalize 1.bias; penalize 1.weight; penalize 0.bias; penalize 0.weight; | clip_norm;
           | update 1.bias sgd +scaled; update 1.weight sgd +scaled; update 0.bias sgd +scaled;
           update 0.weight sgd +scaled; totals""",
    ),
    "accumulation stores gradients, too": (
        [HEAD],
        {"accumulate": 2},
        """gather inputs; dense 0; loss softmax_cross_entropy; | dw 0 raw;
           | update 0.bias sgd; update 0.weight sgd; totals""",
    ),
    "limits of norms come after the updates": (
        [fr.Dense(4, "relu", max_norm=1.0), HEAD],
        {},
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy;
           dx 1 through relu; | dw 1 sgd; dw 0 sgd; | max_norm 0.weight; totals""",
    ),
    "a layer in Python is a call each way": (
        [HIDDEN, DOUBLE, HEAD],
        BINARY,
        """gather targets; gather inputs; dense 0 relu; | call; | dense 2; loss sigmoid_cross_entropy;
           dx 2 through linear; | call; | elementwise through relu; dw 2 sgd; | dw 0 sgd; totals""",
    ),
    "images are augmented as they are gathered": (
        [fr.Flatten(), fr.Dropout(rate=0.2), HEAD],
        {"augment": augment.Rotate(10)},
        "gather inputs +augment +mask; dense 2; loss softmax_cross_entropy; | dw 2 sgd; totals",
    ),
    "a way around two layers is a sum, whose gradient goes both ways": (
        [fr.Residual([HIDDEN, fr.Dense(6)]), HEAD],
        {},
        """gather inputs; dense 0 relu; dense 1; elementwise +plus; dense 3; loss softmax_cross_entropy;
           dx 3 through linear; elementwise through linear; dx 1 through relu;
           | dw 3 sgd; dw 1 sgd; dw 0 sgd; totals""",
    ),
    "a value with two users carries no dropout, and its gradient has two parts": (
        [HIDDEN, fr.Residual([fr.Dropout(rate=0.5), fr.Dense(4, "relu")], activation="tanh"), HEAD],
        {},
        """gather inputs; dense 0 relu; elementwise +mask; dense 2 relu; elementwise +plus; dense 4;
           loss softmax_cross_entropy; dx 4 through tanh; elementwise through relu; elementwise through relu;
           dx 2 through linear; elementwise +mask through relu +add; | dw 4 sgd; dw 2 sgd; dw 0 sgd; totals""",
    ),
    "a tied weight has two parts of a gradient, which is stored; the bias beside it has its own update": (
        [fr.Dense(4, "relu", name="a"), fr.Dense(6, tied_to="a", transposed=True), HEAD],
        {},
        """gather inputs; dense a relu; dense a +transposed; dense 2; loss softmax_cross_entropy;
           dx 2 through linear; dx a through relu +transposed; | dw 2 sgd; dw a raw; bias_dw 1 sgd; | dw a add;
           | update a.weight sgd; totals""",
    ),
    "means over the steps follow the updates": (
        [fr.Dense(3, use_bias=False)],
        {"averaging": fr.EMA(0.9)},
        """gather inputs; dense 0; loss softmax_cross_entropy; | dw 0 sgd; totals; count; | average 0.weight""",
    ),
    "a step of an embedding touches rows of its table, and limits their norms": (
        [fr.Embedding(3, 2, max_norm=1.0), HEAD],
        {},
        """gather inputs; embed 0; dense 1; loss softmax_cross_entropy;
           dx 1 through linear; | dw 1 sgd; embed_dw 0 sgd; | row_norm 0.weight; totals""",
    ),
    "weights that are held together have their gradients stored": (
        [fr.Dense(4, "relu"), fr.Dense(4), fr.Dense(4), HEAD],
        {"distance": fr.penalties.Distance("1", "2", 0.1)},
        """gather inputs; dense 0 relu; dense 1; dense 2; dense 3; loss softmax_cross_entropy;
           dx 3 through linear; dx 2 through linear; dx 1 through relu; | dw 3 sgd; dw 2 raw; dw 1 raw; dw 0 sgd;
           | couple 1.weight 2.weight; | update 2.weight sgd; update 1.weight sgd; totals""",
    ),
    "adversarial training puts perturbed copies behind the rows of the batch, whose products it keeps": (
        [HIDDEN, HEAD],
        {"adversarial": fr.FGSM(0.1)},
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy; dx 1 through relu;
           dx 0 through linear; M+ append inputs +gradient;
           M+ dense 0 relu; M+ dense 1; M+ loss softmax_cross_entropy; M+ dx 1 through relu;
           2x | dw 1 sgd; 2x dw 0 sgd; 2x totals""",
    ),
    "a penalty on activations is not attacked, so that the rows of the batch go twice": (
        [fr.Dense(4, "relu", activity_l1=0.1), HEAD],
        {"adversarial": fr.FGSM(0.1)},
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy +by_row; dx 1 through relu;
           dx 0 through linear; M+ append inputs +gradient;
           2x | dense 0 relu +activity; 2x dense 1; 2x loss softmax_cross_entropy; 2x dx 1 through relu +activity;
           2x | dw 1 sgd; 2x dw 0 sgd; 2x totals +activity""",
    ),
    "and so they do if they have no share of the loss": (
        [HIDDEN, HEAD],
        {"adversarial": fr.FGSM(0.1, weight=0.0)},
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy +by_row; dx 1 through relu;
           dx 0 through linear; M+ append inputs +gradient;
           2x | dense 0 relu; 2x dense 1; 2x loss softmax_cross_entropy; 2x dx 1 through relu;
           2x | dw 1 sgd; 2x dw 0 sgd; 2x totals""",
    ),
}

OTHERS = {
    "evaluation draws nothing and ends at the loss": (
        "evaluate",
        [HIDDEN, fr.Dropout(rate=0.5), HEAD],
        "gather inputs; dense 0 relu; dense 2; loss softmax_cross_entropy; | totals",
    ),
    "standard dropout leaves a factor behind": (
        "predict",
        [HIDDEN, fr.Dropout(rate=0.5, kind="standard"), HEAD],
        "gather inputs; dense 0 relu +mask; dense 2; emit softmax",
    ),
    "gradients are stored, and draw nothing unless asked to": (
        "gradients",
        [HIDDEN, fr.Dropout(rate=0.5), HEAD],
        """gather inputs; dense 0 relu; dense 2; loss softmax_cross_entropy;
           dx 2 through relu; | dw 2 gradient; dw 0 gradient; totals""",
    ),
    "the gradient at the inputs goes through all layers": (
        "input_gradient",
        [HIDDEN, HEAD],
        """gather inputs; dense 0 relu; dense 1; loss softmax_cross_entropy +by_row;
           dx 1 through relu; dx 0 through linear; | totals""",
    ),
}

RIDERS = (
    "transposed",
    "plus",
    "augment",
    "standardize",
    "noise",
    "mask",
    "z",
    "activity",
    "smoothing",
    "by_row",
    "gradient",
    "scaled",
)


def layer_of(param):
    return param.split(".")[0]


def riders(op):
    names = [name for name in RIDERS if getattr(op, name, None)]
    if isinstance(op, ops.Dense) and op.weight == ops.noisy(f"{layer_of(op.weight)}.weight"):
        names.insert(0, "noisy")
    return "".join(f" +{name}" for name in names)


def back(through):
    names = [name for name in ("z", "mask") if getattr(through, name)]
    names += ["activity"] if through.activity_l1 else []
    return f" through {through.activation}" + "".join(f" +{name}" for name in names)


def described(op):
    """One op in the notation of the tables."""
    match op:
        case ops.Gather():
            text = f"gather {op.source}{riders(op)}"
        case ops.Round():
            text = f"round {op.x}"
        case ops.Perturb():
            text = f"perturb {layer_of(op.weight)}"
        case ops.Dense():
            activation = "" if op.activation == "linear" else f" {op.activation}"
            text = f"dense {layer_of(op.weight)}{activation}{riders(op)}"
        case ops.Elementwise():
            added = " +add" if op.add else ""
            text = f"elementwise{riders(op)}{back(op.through) + added if op.through else ''}"
        case ops.Loss():
            text = f"loss {op.kind}{riders(op)}"
        case ops.DenseDx():
            text = f"dx {layer_of(op.weight)}{back(op.through)}{riders(op)}"
        case ops.DenseDw():
            text = f"dw {layer_of(op.weight)} {op.weight_rule.kind}"
        case ops.BiasDw():
            text = f"bias_dw {layer_of(op.bias)} {op.rule.kind}"
        case embedding.Embed():
            text = f"embed {layer_of(op.weight)}{riders(op)}"
        case embedding.EmbedDw():
            text = f"embed_dw {layer_of(op.weight)} {op.rule.kind}"
        case ops.RowNorm():
            text = f"row_norm {op.weight}"
        case ops.Count():
            text = "count"
        case ops.Average():
            text = f"average {op.param}"
        case ops.Couple():
            text = f"couple {op.a} {op.b}"
        case ops.Update():
            text = f"update {op.param} {op.rule.kind}{riders(op)}"
        case ops.Penalize():
            text = f"penalize {op.param}"
        case ops.ClipNorm():
            text = "clip_norm"
        case ops.MaxNorm():
            text = f"max_norm {op.weight}"
        case ops.Append():
            text = f"append {op.out}{riders(op)}"
        case ops.Call():
            text = "call"
        case ops.Emit():
            text = f"emit {op.transform}"
        case ops.Totals():
            text = f"totals{riders(op)}"
        case _:
            raise AssertionError(f"no notation for {op}")
    span = {"own": "", "copies": "M+ ", "both": "2x "}[op.span]
    return span + ("| " if op.wait else "") + text


def program_of(layers, mode="train", **options):
    model = fr.Sequential(layers)
    model.build((2, 3) if "augment" in options else 6)
    return fr.Trainer(model, **options).program(mode).ops


def expected(text):
    return [" ".join(op.split()) for op in text.split(";")]


@pytest.mark.parametrize(("layers", "options", "text"), TRAINING.values(), ids=TRAINING.keys())
def test_training(layers, options, text):
    assert [described(op) for op in program_of(layers, **options)] == expected(text)


@pytest.mark.parametrize(("mode", "layers", "text"), OTHERS.values(), ids=OTHERS.keys())
def test_other_programs(mode, layers, text):
    assert [described(op) for op in program_of(layers, mode)] == expected(text)


def test_every_kind_of_op_is_in_a_table():
    kinds = {kind for kind in vars(ops).values() if isinstance(kind, type) and issubclass(kind, ops.Op)} - {ops.Op}
    programs = [program_of(layers, **options) for layers, options, _ in TRAINING.values()]
    programs += [program_of(layers, mode) for mode, layers, _ in OTHERS.values()]
    assert {type(op) for program in programs for op in program} >= kinds
