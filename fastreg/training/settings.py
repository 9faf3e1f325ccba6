"""The settings of a trainer: its arguments and their checks, at the start and whenever one is set later."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg import optimizers
from fastreg.common import checking
from fastreg.common.transforms import TRANSFORMS
from fastreg.intake.schema import Schema
from fastreg.layers import BatchNorm, Conv2D, Dense, Layer
from fastreg.losses import adversarial, losses, penalties
from fastreg.losses.adversarial import FGSM
from fastreg.losses.losses import Loss
from fastreg.losses.penalties import L1, L2, Distance, ElasticNet, Penalty
from fastreg.machine.threads import checked as checked_threads
from fastreg.metrics import registry
from fastreg.metrics.answers import VALUES
from fastreg.metrics.registry import Metric
from fastreg.model.dataset import Data, checked, targets_of
from fastreg.model.model import Model, check_loss, losses_for, trained_layers
from fastreg.model.tasks import DEFAULT_METRICS, Task, loss_weights, of_each, of_heads, only, unwrapped
from fastreg.optimizers import averaging
from fastreg.optimizers.averaging import Averaging
from fastreg.optimizers.optimizers import Optimizer
from fastreg.program import riders

if TYPE_CHECKING:
    from fastreg.data.augment import Augmentation


def _model(value) -> Model:
    if not isinstance(value, Model):
        advice = ": fr.Sequential([...]) makes one of layers" if isinstance(value, (list, tuple, Layer)) else ""
        raise TypeError(f"model: got {type(value).__name__}, expected a Sequential or a Model{advice}")
    return value


def _any(value):
    """An argument that is checked later, since it depends on the heads of the model."""
    return value


def _loss(name: str, value) -> Loss:
    return losses.get(value, name)


def _metrics(value, heads: tuple[str, ...]) -> Any:
    """The argument `metrics`: for all heads, or a dict by head. A dict for one head may also name metrics."""
    by_head = isinstance(value, Mapping) and (
        len(heads) > 1 or (list(value) == [heads[0]] and isinstance(value[heads[0]], (list, tuple, type(None))))
    )
    if not by_head:
        return registry.metrics(value)
    found = {}
    for head, own in of_each("metrics", value, heads, ()).items():
        try:
            found[head] = registry.metrics(() if own is None else own)
        except (ValueError, TypeError) as error:
            raise type(error)(str(error).replace("metrics", f"metrics[{head!r}]", 1)) from None
    return found if len(heads) > 1 else found[heads[0]]


def _loss_weights(value, heads: tuple[str, ...]) -> dict[str, float] | None:
    """The argument `loss_weights`: numbers of at least 0 by head. None for 1."""
    if value is None:
        return None
    weights = loss_weights(value, heads, 1.0)
    return None if set(weights.values()) == {1.0} else weights


def _clip(name: str, value) -> float | None:
    return None if value is None else checking.positive(name, value)


def _mixup(value) -> float | None:
    return None if value is None else checking.number("mixup", value, 0, 1000) or None


def _augment(value) -> Augmentation | None:
    if value is None:
        return None
    from fastreg.data import augment  # imported only if needed, since the data package is large

    return augment.get("augment", value)


def _kept(check: Callable[[Any], Any], in_programs: bool = False) -> dict[str, Any]:
    """Facts about an argument. Its check takes a value and returns it in the form that is stored.

    in_programs   whether programs depend on it, apart from the layers of the model and the rule of the optimizer
    """
    return {"check": check, "in_programs": in_programs}


@dataclass(frozen=True)
class Settings:
    """All arguments of a trainer. Each is checked alone when it is set. `check` compares them with each other, later,
    since they may be set one after the other.

    Anything derived from the arguments is kept in this object, so that a new object derives it again.
    """

    model: Model = field(metadata=_kept(_model))
    loss: Any = field(metadata=_kept(_any, in_programs=True))
    optimizer: Optimizer = field(metadata=_kept(optimizers.get))
    l1: L1 = field(metadata=_kept(partial(penalties.l1, "l1"), in_programs=True))
    l2: L2 = field(metadata=_kept(partial(penalties.l2, "l2"), in_programs=True))
    distance: tuple[Distance, ...] = field(metadata=_kept(penalties.distances, in_programs=True))
    metrics: Any = field(metadata=_kept(_any))
    clip_norm: float | None = field(metadata=_kept(partial(_clip, "clip_norm"), in_programs=True))
    clip_value: float | None = field(metadata=_kept(partial(_clip, "clip_value"), in_programs=True))
    accumulate: int = field(metadata=_kept(partial(checking.integer, "accumulate"), in_programs=True))
    augment: Augmentation | None = field(metadata=_kept(_augment, in_programs=True))
    adversarial: FGSM | None = field(metadata=_kept(adversarial.get, in_programs=True))
    mixup: float | None = field(metadata=_kept(_mixup, in_programs=True))
    averaging: Averaging | None = field(metadata=_kept(averaging.get, in_programs=True))
    engine: str = field(metadata=_kept(checking.engine))
    dtype: str = field(metadata=_kept(checking.dtype))
    seed: int = field(metadata=_kept(checking.seed))
    threads: int | None = field(metadata=_kept(checked_threads))
    loss_weights: Any = field(default=None, metadata=_kept(_any, in_programs=True))
    precision: str = field(default="float32", metadata=_kept(checking.precision, in_programs=True))
    penalty: InitVar[L1 | L2 | ElasticNet | None] = None

    def __post_init__(self, penalty):
        values = self.__dict__  # since the object is frozen
        for row in fields(self):
            values[row.name] = row.metadata["check"](values[row.name])
        heads = self.model.heads
        if values["loss"] is None:
            values["loss"] = losses_for(self.model)
        values["loss"] = unwrapped(of_heads("loss", values["loss"], heads, _loss))
        values["metrics"] = _metrics(values["metrics"], heads)
        values["loss_weights"] = _loss_weights(values["loss_weights"], heads)
        if penalty is not None:
            penalties.alone("penalty", penalty, self.l1.lam, self.l2.lam)
            values["l1"], values["l2"] = penalties.pair("penalty", penalty)
        _ = self.tasks, self.metric_names, self.counted_metrics  # found once, here rather than in a fit

    def check(self) -> None:
        """Refuses a model, a loss, penalties and a dtype that do not fit together. Any of them may have changed."""
        last_layers = self.model.last_layers
        for task in self.tasks:
            check_loss(self.model, task)
            last = last_layers[task.head]
            activation = getattr(last, "activation", None)
            if activation in task.loss.forbids:
                what = "the last" if task.alone else f"the head {task.head!r}, the last"
                raise ValueError(
                    f"model: got {activation!r} in {what} {type(last).__name__} under {task.loss.name}, expected no "
                    f"activation: the loss takes logits, and predict gives {TRANSFORMS[task.loss.transform].told}"
                )
        if self.model.built and self.model.dtype != self.dtype:
            raise ValueError(
                f"dtype: got {self.dtype!r} for a model in {self.model.dtype}, expected the same; "
                f"model.copy(dtype={self.dtype!r}) makes such a model"
            )
        if self.precision == "bfloat16":
            self._check_bfloat16()
        self._check_metrics()
        if self.adversarial is not None:
            self.adversarial.check_dtype("adversarial", self.dtype)
        largest = float(np.finfo(self.dtype).max)
        layers = {f"layer {layer.name!r} ": layer for layer in self.model.layers if layer.is_trained}
        for owner, parts in {"": self, **layers}.items():
            for name in ("l1", "l2"):
                part = getattr(parts, name, None)
                if isinstance(part, Penalty) and not part.coefficient(1) <= largest:  # the largest, even for m="train"
                    raise ValueError(f"{owner}{name}: got {part!r}, expected a coefficient finite in {self.dtype}")
        for dense in self.model.layers:
            if isinstance(dense, Dense) and not dense.activity_l1 <= largest:
                text = f"got {dense.activity_l1!r}, expected a coefficient finite in {self.dtype}"
                raise ValueError(f"layer {dense.name!r} activity_l1: {text}")
        self._check_graph()
        if norm := next(iter(self._live_norms()), None):
            told = f"with layer {norm.name!r}, a BatchNorm"
            if self.accumulate > 1:
                raise ValueError(
                    f"accumulate: got {self.accumulate} {told}, expected 1: its moments are those of one batch; "
                    f"a larger batch_size takes the same steps"
                )
            if self.adversarial is not None:
                raise ValueError(
                    f"adversarial: got {self.adversarial!r} {told}, expected none: clean and perturbed rows would "
                    f"share their moments; a LayerNorm has none to share"
                )

    def _check_bfloat16(self) -> None:
        """Refuses what has no products in bf16."""
        if self.dtype != "float32":
            raise ValueError(f"precision: got 'bfloat16' with dtype={self.dtype!r}, expected dtype='float32'")
        for layer in self.model.layers:
            if isinstance(layer, Conv2D):
                raise ValueError(
                    f"precision: got 'bfloat16' for a model with layer {layer.name!r}, a Conv2D, whose products are in "
                    f"float32 alone, expected 'float32'"
                )

    def _live_norms(self) -> list[BatchNorm]:
        """The batch norms that training normalizes by the moments of the batch."""
        return [layer for layer in self.model.layers if isinstance(layer, BatchNorm) and layer.trainable]

    def check_batches(self, rows: int, batch_size: int) -> None:
        """Refuses a batch in which a batch norm has one value per channel, whose variance says nothing."""
        if not self._live_norms() or not (rows == 1 or batch_size == 1 or rows % batch_size == 1):
            return
        model = self.model
        for layer, (before, _) in zip(model.layers, model.layer_shapes(model.known_shape), strict=True):
            if layer in self._live_norms() and math.prod(before[:-1]) == 1:
                last = f", the last of {rows} rows by {batch_size}" if min(rows, batch_size) > 1 else ""
                raise ValueError(
                    f"layer {layer.name!r}: got a batch of one row{last}, expected more: a BatchNorm has no variance "
                    f"there; another batch_size helps"
                )

    def _check_metrics(self) -> None:
        if not self.model.tells_widths and self.model._seen_shape is None:
            return  # the data will tell whether there are several outputs
        for task in self.tasks:
            answers = task.answers(self.model)
            for metric in task.measured:
                if not metric.fits(answers, task.probabilities):
                    known = registry.told(registry.fitting(answers, task.probabilities), answers)
                    got = f"{task.argument('metrics')}: got {metric.name!r} under {task.loss.name}"
                    raise ValueError(f"{got}, expected some of {known}, or functions")
        if len(self.tasks) == 1 or isinstance(self.metrics, dict) or self.metrics == DEFAULT_METRICS:
            return
        for metric in map(registry.named, self.metrics):
            if all(metric not in task.measured for task in self.tasks):
                raise ValueError(f"metrics: got {metric.name!r}, which fits the loss of no head, expected others")

    def _check_graph(self) -> None:
        """Refuses what a graph does not have, or cannot have."""
        if self.distance:
            self._check_distances()
        if self.adversarial is not None and not (len(self.model.graph.inputs) == len(self.model.heads) == 1):
            raise ValueError("adversarial: got a model with several inputs or heads, expected one of each")
        if self.adversarial is not None and self.model.embeddings:
            raise ValueError("adversarial: got a model with an Embedding, whose codes have no gradient to follow")
        if self.mixup is not None:
            self._check_mixup(self.mixup)
        if self.augment is not None and len(self.model.graph.inputs) > 1:
            raise ValueError("augment: got a model with several inputs, expected one: the images")

    def _check_distances(self) -> None:
        names = [str(layer.name) for layer in self.model.layers]
        for distance in self.distance:
            for name in (distance.a, distance.b):
                if name not in names:
                    near = checking.nearest(name, names)
                    raise ValueError(f"distance: got {name!r}, expected one of {', '.join(names)}{near}")
            if self.model.built:
                shapes = [
                    np.shape(self.model.parameters.get(f"{name}.weight", 0.0)) for name in (distance.a, distance.b)
                ]
                if () in shapes or shapes[0] != shapes[1]:
                    raise ValueError(
                        f"distance: got {distance!r}, whose weights have the shapes {shapes[0]} and "
                        f"{shapes[1]}, expected equal ones; () is a layer without a weight"
                    )

    def couplings(self, rows: int) -> list[tuple[str, str, riders.Penalty]]:
        """The weights whose distance has a penalty, for a training set of `rows`."""
        self._check_distances()  # once more: now the model has parameters, whose shapes must be equal
        return [(f"{d.a}.weight", f"{d.b}.weight", penalties.rider(L1(0.0), d.l2, rows)) for d in self.distance]

    def checked(self, X, y, sample_weight=None, rows=None, **how) -> Data:
        """The data, if model and loss can take them. `how` is as in `fastreg.model.dataset.checked`."""
        self.check()
        if not self.model.built:  # so names of columns and classes are those of these data
            how.setdefault("schema", self.seen(X, y))
        return checked(self.model, self.tasks, self.dtype, X, y, sample_weight, rows, **how)

    def seen(self, X, y) -> Schema:
        """The schema of the model, with the names that these data add to it. A model that was trained on labels without
        names cannot tell which of them a name means."""
        model = self.model
        schema = model.schema if model.many_inputs else model.schema.seeing(model.own_input(X), None, None)
        if not model.tells_widths:  # such as a convolution as the last layer: the shape of X decides
            model._check_inputs("X", X, schema, self.dtype)
            self._check_metrics()
        alone = self.tasks[0].alone
        given = {self.tasks[0].head: only(y, self.tasks[0].head)} if alone else targets_of(self.tasks, X, y, schema)
        for task in self.tasks:
            takes_names = task.answers(model) != VALUES and model.loss is None
            outputs = model.widths[task.head] if takes_names else None
            holes, own = task.loss.missing_targets, Schema(target=schema.target_of(task.head, alone))
            own = own.seeing(None, given[task.head], outputs, holes, task.argument("y"))
            schema = schema.with_target(task.head, alone, own.target)
        return schema

    def _check_mixup(self, alpha: float) -> None:
        """Refuses what cannot be mixed."""
        if self.adversarial is not None:
            raise ValueError(f"mixup: got {alpha:g} with adversarial, expected one of the two")
        for layer in self.model.embeddings:
            raise ValueError(f"mixup: got {alpha:g} with layer {layer.name!r}, whose inputs are codes that do not mix")
        for task in self.tasks:
            if task.loss.missing_targets:
                raise ValueError(f"mixup: got {alpha:g} with missing_targets, expected a target in every row")
            kind = task.loss.in_program
            if getattr(task.loss, "kind", "") == "labels" or kind == "categorical_hinge":
                raise ValueError(f"mixup: got {alpha:g} under {task.loss.name}, whose labels do not mix")

    def check_augment(self, shape: Any) -> None:
        """Refuses samples of this shape if they should be augmented but are not images."""
        if self.augment is not None:
            try:
                self.augment.on(shape)
            except ValueError as error:
                raise ValueError(f"X: {error}") from None

    def build(self, shape: Any) -> None:
        """Draws the parameters of a model that has none, for samples of this shape."""
        if not self.model.built:
            self.model.build(shape, self.seed, self.dtype)

    def keep(self, schema: Schema) -> None:
        """Lets the model keep the current loss, from which follow its predictions, and the names in the data. Training
        begins with it."""
        if not self.model.keeps(self.tasks):
            self.model.keep(self.tasks)
        if self.model.schema is not schema:
            self.model.schema = schema

    def deciding(self) -> dict[str, Any]:
        """The arguments that decide the result of training: all but the model and the number of threads."""
        names = (row.name for row in fields(self) if row.name not in ("model", "threads"))
        return {name: getattr(self, name) for name in names}

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """What each head of the model is trained for."""
        heads = self.model.heads
        alone = len(heads) == 1
        losses = self.loss if isinstance(self.loss, dict) else {heads[0]: self.loss}
        weights = self.loss_weights or dict.fromkeys(heads, 1.0)
        return tuple(
            Task(head, alone, losses[head], weights[head], self._metrics_of(head, losses[head])) for head in heads
        )

    def _metrics_of(self, head: str, loss: Loss) -> tuple[str | Metric, ...]:
        """The metrics of a head. Those for all heads are for the ones whose loss they fit."""
        if isinstance(self.metrics, dict):
            return self.metrics[head]
        if self.metrics == DEFAULT_METRICS and not loss.counts_hits:
            return ()
        if len(self.model.heads) == 1:
            return self.metrics
        task = Task(head, False, loss)
        answers = task.answers(self.model)
        return tuple(m for m in self.metrics if registry.named(m).fits(answers, task.probabilities))

    @property
    def losses(self) -> dict[str, Loss]:
        """The loss of each head."""
        return {task.head: task.loss for task in self.tasks}

    @property
    def transforms(self) -> dict[str, str]:
        """How the values of each head become predictions."""
        return {task.head: task.loss.transform for task in self.tasks}

    @property
    def fitting_metrics(self) -> tuple[str, ...]:
        """The names of the metrics that fit the losses."""
        found = ((task, registry.fitting(task.answers(self.model), task.probabilities)) for task in self.tasks)
        return tuple(task.column(name) for task, names in found for name in names)

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics that exist for the losses, and of the losses of several heads."""
        return tuple(name for task in self.tasks for name in task.columns(metric.name for metric in task.measured))

    @cached_property
    def counted_metrics(self) -> tuple[str, ...]:
        """The names of those that an engine counts as it runs. All others need the whole predictions."""
        return tuple(name for task in self.tasks for name in task.columns(task.counted))

    @cached_property
    def in_programs(self) -> tuple:
        """What programs depend on, apart from the layers. While it is equal, a program can be used again. (It does not
        include the learning rate.)"""
        names = (row.name for row in fields(self) if row.metadata["in_programs"])
        return self.optimizer.rule(), *(getattr(self, name) for name in names)

    def penalty_of(self, layer: Layer, rows: int) -> riders.Penalty:
        """What the weight of a layer costs, for a training set of `rows`."""
        return penalties.rider(*self._penalties(layer), rows)

    def _penalties(self, layer: Layer) -> tuple[L1, L2]:
        """The penalties of a layer: its own, or those of the trainer."""
        l1, l2 = layer.option("l1"), layer.option("l2")
        return l1 if isinstance(l1, L1) else self.l1, l2 if isinstance(l2, L2) else self.l2

    @property
    def follows_rows(self) -> bool:
        """Whether a program depends on the number of rows of the training set."""
        return any(
            "train" in (l1.m, l2.m)
            for l1, l2 in [*map(self._penalties, trained_layers(self.model)), *((L1(0.0), d.l2) for d in self.distance)]
        )
