"""scikit-learn's checks of the estimators for tables."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastnn.tabular import TabularClassifier, TabularRegressor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.contract,
    pytest.mark.thread_unsafe(reason="scikit-learn's checks catch the warnings of the process"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast"),  # scikit-learn looks at an infinite y
    pytest.mark.filterwarnings("ignore:.*(tells y|is constant|counts the rows):UserWarning"),  # small made-up tables
]

# rows are held back whatever they weigh, and each of several equal rows has noise of its own
WITHOUT = ("check_sample_weight_equivalence_on_dense_data",)


def checks(*estimators):
    """Return the checks of estimators, as parameters."""
    return [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}")
        for estimator in estimators
        for estimator, check in estimator_checks_generator(estimator)
        if check.func.__name__ not in WITHOUT
    ]


@pytest.mark.parametrize(("estimator", "check"), checks(TabularClassifier(), TabularRegressor()))
def test_estimators_keep_scikit_learns_contract(estimator, check):
    check(estimator)
