"""scikit-learn's own test file of its MLP, run with ours in the place of theirs.

The installed file is run as it is, but for the line that imports their classes. So every test of it runs on ours,
except for those of NOT_OURS, which look at private names.
"""

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("sklearn")
import sklearn

from fastreg.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.slow

FILE = Path(sklearn.__file__).parent / "neural_network" / "tests" / "test_mlp.py"
if not FILE.exists():
    pytest.skip("this scikit-learn came without its tests", allow_module_level=True)

# Why a test does not apply. Others do it here: tests/estimators/test_same_course.py.
NOT_OURS = {
    "test_fit": "sets coefs_, _coef_grads and more of an estimator that was never fitted, in place of a first fit",
    "test_gradient": "calls _loss_grad_lbfgs",
}


class OurClassifier(MLPClassifier):
    """Ours, which tells under their private names what their tests ask for."""

    @property
    def _no_improvement_count(self):
        return self._course.worse

    @property
    def _optimizer(self):
        return SimpleNamespace(learning_rate=self._course.rate)


def theirs():
    """The installed file, as a module that uses our classes."""
    text = FILE.read_text()
    line = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
    assert line in text
    module = ModuleType("their_tests_of_the_mlp")
    vars(module).update(MLPClassifier=OurClassifier, MLPRegressor=MLPRegressor)
    exec(compile(text.replace(line, ""), str(FILE), "exec"), vars(module))
    return module


THEIRS = theirs()
globals().update(
    {name: value for name, value in vars(THEIRS).items() if re.match("test_", name) and name not in NOT_OURS}
)


@pytest.fixture
def global_random_seed():
    """Their fixture, with the seed that they take by default."""
    return 42


def test_ours_are_tested():
    assert THEIRS.MLPClassifier is OurClassifier and THEIRS.MLPRegressor is MLPRegressor
    assert NOT_OURS.keys() < vars(THEIRS).keys()
