"""Two classes of tumours: all defaults."""

import sys
from time import perf_counter

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if sys.argv[1] == "sklearn":
    from sklearn.neural_network import MLPClassifier
else:
    from fastreg.estimators import MLPClassifier

seed = int(sys.argv[2])
X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=seed)
model = make_pipeline(StandardScaler(), MLPClassifier(random_state=seed))
start = perf_counter()
model.fit(X_train, y_train)
print(model.score(X_test, y_test), perf_counter() - start)
