"""With rows shuffled in another order than scikit-learn's, the perceptrons reach scikit-learn's scores."""

import numpy as np
import pytest
from estimators.perceptrons import MLPClassifier, MLPRegressor, unconverged
from sklearn import datasets, neural_network
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

pytestmark = [pytest.mark.slow, unconverged]

SEEDS = range(6)
SETTINGS = {
    "the defaults": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.02, "learning_rate": "adaptive"},
    "early stopping": {"early_stopping": True, "learning_rate_init": 0.005},
    "lbfgs": {"solver": "lbfgs", "alpha": 0.1, "max_iter": 50},
    "small batches of two layers": {"hidden_layer_sizes": (40, 20), "batch_size": 32, "activation": "tanh"},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_the_scores_are_scikit_learns_within_the_spread_over_seeds(name, settings):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    x, test_x, y, test_y = train_test_split(x, y, test_size=0.3, random_state=0)
    scaler = StandardScaler().fit(x)
    x, test_x = scaler.transform(x), scaler.transform(test_x)
    tested = MLPRegressor if name == "diabetes" else MLPClassifier
    settings = {"max_iter": 100} | SETTINGS[settings]
    with threadpool_limits(1):  # products this small are no work for two
        actual, expected = (
            np.array([estimator(random_state=seed, **settings).fit(x, y).score(test_x, test_y) for seed in SEEDS])
            for estimator in (tested, getattr(neural_network, tested.__name__))
        )
    # Three standard errors of a difference of means; and two test rows, where all seeds score nearly alike.
    error = np.sqrt((actual.var(ddof=1) + expected.var(ddof=1)) / len(SEEDS))
    assert abs(actual.mean() - expected.mean()) <= 3 * error + 2 / len(test_y)
