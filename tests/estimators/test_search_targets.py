"""EnsembleSearchCV over networks in TransformedTargetRegressor: the results of scikit-learn's searches, to the bit."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from estimators.searches import PATIENTS, PROGRESS, both, line, regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fastnn.sklearn import EnsembleSearchCV, SequentialRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.thread_unsafe(reason="scikit-learn's configuration is the process's"),
]

TRANSFORMED = {
    "around a network": (
        TransformedTargetRegressor(regressor(), transformer=StandardScaler()),
        {"regressor__alpha": [0.1, 1.0]},
    ),
    "around a pipeline": (
        TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor()), func=np.log1p, inverse_func=np.expm1),
        {"regressor__mlpregressor__alpha": [0.1, 1.0]},
    ),
    "in a pipeline": (
        make_pipeline(StandardScaler(), TransformedTargetRegressor(regressor(), transformer=MinMaxScaler())),
        {"transformedtargetregressor__regressor__hidden_layer_sizes": [(4,), (6,)]},
    ),
    "each candidate another": (
        TransformedTargetRegressor(regressor()),
        {"transformer": [None, StandardScaler(), MinMaxScaler()], "regressor__solver": ["adam", "lbfgs"]},
    ),
    "functions that cannot be compared": (
        TransformedTargetRegressor(regressor(), func=lambda y: y / 2, inverse_func=lambda y: y * 2),
        {"regressor__alpha": [0.1, 1.0]},
    ),
    "around what is no network, beside networks": (
        TransformedTargetRegressor(regressor(), transformer=StandardScaler()),
        {"regressor": [Ridge(), regressor(), None]},
    ),
    "around any network": (
        TransformedTargetRegressor(SequentialRegressor(line, epochs=5, random_state=0), transformer=StandardScaler()),
        {"regressor__units": [3, 5]},
    ),
}


@pytest.mark.parametrize("search", TRANSFORMED.values(), ids=TRANSFORMED)
@pytest.mark.parametrize("columns", [1, 2])
def test_transformed_targets_give_the_same_results(search, columns):
    y = PROGRESS if columns == 1 else np.column_stack([PROGRESS, PROGRESS**2])
    ours, theirs = both(*search, PATIENTS, y)
    np.testing.assert_array_equal(ours.predict(PATIENTS), theirs.predict(PATIENTS))


def test_transformed_targets_of_a_frame_have_its_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(PATIENTS, columns=[f"x{place}" for place in range(PATIENTS.shape[1])])
    net = TransformedTargetRegressor(regressor(), transformer=StandardScaler())
    grid = {"regressor__alpha": [0.1, 1.0]}
    ours, _ = both(net, grid, frame, pandas.Series(PROGRESS))
    assert ours.best_estimator_.feature_names_in_.tolist() == list(frame.columns)


def test_y_is_transformed_once_a_fold_and_setting(monkeypatch):
    fits = []
    fit = TransformedTargetRegressor.fit
    monkeypatch.setattr(TransformedTargetRegressor, "fit", lambda self, *args: fits.append(self) or fit(self, *args))
    net = TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor()), transformer=StandardScaler())
    grid = {"regressor__mlpregressor__alpha": [0.1, 1.0, 5.0], "transformer__with_mean": [True, False]}
    EnsembleSearchCV(net, grid, cv=3, refit=False).fit(PATIENTS, PROGRESS)
    assert len(fits) == 3 * 2


def test_weights_are_routed_through_a_transformation_of_y():
    weights = np.arange(1.0, 91.0)
    grid = {"regressor__alpha": [0.1, 1.0]}
    net = TransformedTargetRegressor(regressor(), transformer=StandardScaler())
    both(net, grid, PATIENTS, PROGRESS, {"sample_weight": weights})
    with sklearn.config_context(enable_metadata_routing=True):
        net = TransformedTargetRegressor(regressor().set_fit_request(sample_weight=True), transformer=StandardScaler())
        net.set_score_request(sample_weight=False)  # scikit-learn 1.6 asks for it
        both(net, grid, PATIENTS, PROGRESS, {"sample_weight": weights})
