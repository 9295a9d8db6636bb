"""Small networks that are searched over, and the comparison of our search with scikit-learn's."""

import numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import layers
from fastnn.sklearn import EnsembleSearchCV, MLPClassifier, MLPRegressor

FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS, SPECIES = StandardScaler().fit_transform(FLOWERS)[::2], SPECIES[::2]
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
PATIENTS, PROGRESS = StandardScaler().fit_transform(PATIENTS)[:90], PROGRESS[:90] / 100


def classifier(**parameters):
    usual = {"hidden_layer_sizes": (6,), "learning_rate_init": 0.02, "max_iter": 12, "random_state": 0}
    return MLPClassifier(**usual | parameters)


def regressor(**parameters):
    usual = {"hidden_layer_sizes": (6,), "learning_rate_init": 0.02, "max_iter": 12, "random_state": 0}
    return MLPRegressor(**usual | parameters)


def stack(inputs, outputs, activation="softmax", units=4):
    return fastnn.Sequential(
        [layers.Input((inputs,)), layers.Dense(units, "relu"), layers.Dropout(0.1), layers.Dense(outputs, activation)]
    )


def line(inputs, outputs, units=4):
    return stack(inputs, outputs, "linear", units)


def same(ours, theirs):
    """Say that the results of two searches are the same, but for the times."""
    assert list(ours) == list(theirs)
    for name in theirs:
        if not name.endswith("_time"):
            mask = np.ma.getmaskarray(np.ma.asarray(theirs[name]))
            np.testing.assert_array_equal(np.ma.getmaskarray(np.ma.asarray(ours[name])), mask)
            got, wanted = np.ma.getdata(ours[name]), np.ma.getdata(theirs[name])
            np.testing.assert_equal(got[~mask], wanted[~mask], err_msg=name)


def both(estimator, grid, X, y, fit_params=None, **options):  # noqa: N803
    """Return a search of ours and one of scikit-learn's, whose results are the same."""
    options = {"cv": 3} | options
    ours = EnsembleSearchCV(estimator, grid, **options).fit(X, y, **fit_params or {})
    theirs = GridSearchCV(estimator, grid, **options).fit(X, y, **fit_params or {})
    same(ours.cv_results_, theirs.cv_results_)
    for name in ("best_index_", "best_params_", "best_score_", "n_splits_", "multimetric_"):
        assert hasattr(ours, name) == hasattr(theirs, name)
        assert getattr(ours, name, None) == getattr(theirs, name, None)
    return ours, theirs
