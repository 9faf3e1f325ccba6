"""The course of diabetes after a year, a number: early stopping."""

import sys
from time import perf_counter

from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if sys.argv[1] == "sklearn":
    from sklearn.neural_network import MLPRegressor
else:
    from fastreg.estimators import MLPRegressor

seed = int(sys.argv[2])
X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
model = make_pipeline(
    StandardScaler(),
    MLPRegressor(
        hidden_layer_sizes=(64,), learning_rate_init=0.01, early_stopping=True, max_iter=1000, random_state=seed
    ),
)
start = perf_counter()
model.fit(X_train, y_train)
print(model.score(X_test, y_test), perf_counter() - start)
