"""scikit-learn's MLP. It has no dropout, and ReLU instead of leaky ReLU. An epoch is one partial_fit."""

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

from peers import blas

ACTIVATIONS = {"sigmoid": "logistic", "relu": "relu", "leaky_relu": "relu"}


class Peer:
    VARIANTS = ("",)

    def __init__(self, workload, X, y, parameters, variant=""):
        self.workload, self.X = workload, X
        self.y = y.ravel() if workload.loss == "mse" and y.shape[1] == 1 else y
        self.classes = None if workload.loss == "mse" else np.arange(workload.sizes[-1])
        kind = MLPRegressor if workload.loss == "mse" else MLPClassifier
        half = 0.5 if workload.loss == "mse" else 1.0  # its squared error has a half in front
        rate = workload.lr if workload.optimizer == "adam" else workload.lr / half
        self.model = kind(
            hidden_layer_sizes=workload.sizes[1:-1],
            activation=ACTIVATIONS[workload.activation],
            solver="adam" if workload.optimizer == "adam" else "sgd",
            alpha=half * workload.l2 * workload.batch,
            batch_size=workload.batch,
            learning_rate_init=rate,
            momentum=0.9 if workload.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
            random_state=0,
        )
        self._fit(slice(workload.batch))  # now its parameters exist, and can be replaced
        for layer, (weight, bias) in enumerate(parameters):
            self.model.coefs_[layer][...] = weight
            self.model.intercepts_[layer][...] = bias
        del self.model._optimizer  # starts afresh

    @staticmethod
    def lacks(workload):
        if workload.activation not in ACTIVATIONS:
            return None
        left_out = ["dropout"] if workload.has_dropout else []
        return ", ".join(left_out + (["leaky ReLU"] if workload.activation == "leaky_relu" else []))

    def epochs(self, count):
        self.model.shuffle = True
        for _ in range(count):
            self._fit(slice(None))

    def in_order(self):
        self.model.shuffle = False
        self._fit(slice(None))

    def _fit(self, rows):
        more = {} if self.classes is None else {"classes": self.classes}
        with sklearn.config_context(assume_finite=True):
            self.model.partial_fit(self.X[rows], self.y[rows], **more)

    def parameters(self):
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))

    def versions(self):
        return {"scikit-learn": sklearn.__version__, "BLAS": blas()}
