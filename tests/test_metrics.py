"""Every metric of the registry, through the same properties: formula, streaming, weights, threads, configuration."""

import numpy as np
import pytest
from bits import same_on_any_threads

import fastnn
from fastnn import layers, losses, metrics

ROWS, OUTPUTS = 150, 4  # more rows than one tile of an evaluation
RATE = fastnn.optimizers.SGD(0.0).hyperparameters()

SETTINGS = {
    "AUC": [
        {},
        {"curve": "PR"},
        {"curve": "PR", "summation_method": "majoring", "num_thresholds": 7},
        {"summation_method": "minoring", "multi_label": True},
        {"multi_label": True, "curve": "PR", "label_weights": [1.0, 2.0, 3.0, 4.0]},
        {"thresholds": [0.7, 0.2, 0.5]},
        {"from_logits": True},
    ],
    "Precision": [{}, {"thresholds": [0.9, 0.1, 0.5]}, {"top_k": 2}, {"class_id": 3}, {"top_k": 2, "class_id": 1}],
    "Recall": [{}, {"thresholds": 0.3}, {"top_k": 1, "thresholds": 0.4}],
    "BinaryAccuracy": [{}, {"threshold": 0.3}],
    "BinaryCrossentropy": [{}, {"label_smoothing": 0.1}],
    "SparseCategoricalCrossentropy": [{}, {"ignore_class": 2}],
    "TopKCategoricalAccuracy": [{"k": 2}],
    "SparseTopKCategoricalAccuracy": [{"k": 2}],
    "FBetaScore": [{"beta": 2.0}, {"average": "weighted", "threshold": 0.6}, {"average": "micro"}],
    "F1Score": [{}, {"average": "macro"}],
    "R2Score": [
        {},
        {"class_aggregation": "variance_weighted_average", "num_regressors": 3},
        {"class_aggregation": None},
    ],
    "SensitivityAtSpecificity": [{"specificity": 0.6}],
    "SpecificityAtSensitivity": [{"sensitivity": 0.6, "class_id": 2}],
    "PrecisionAtRecall": [{"recall": 0.7, "num_thresholds": 1}],
    "RecallAtPrecision": [{"precision": 0.5, "num_thresholds": 20}],
    "IoU": [{"num_classes": 4, "target_class_ids": [0, 2], "sparse_y_pred": False}],
    "MeanIoU": [
        {"num_classes": 4, "sparse_y_pred": False},
        {"num_classes": 4, "sparse_y_pred": False, "ignore_class": 1},
    ],
    "OneHotMeanIoU": [{"num_classes": 4}],
    "TemperatureScaledCrossentropy": [{}, {"from_logits": True}],
}  # fmt: skip
REGISTERED = sorted(set(metrics._registry._members.values()), key=lambda member: member.__name__)
MEMBERS = [
    pytest.param(member, config, id=f"{member.__name__}-{k}")
    for member in REGISTERED
    for k, config in enumerate(SETTINGS.get(member.__name__, [{}]))
]


def takes_labels(metric):
    return metric.targets == losses.LABELS or getattr(metric, "sparse_y_true", False)


def sample(metric, dtype="float64", rows=ROWS, seed=0):
    """Return predictions and targets in the metric's domain; predictions have ties, zeros and ones."""
    generator = np.random.default_rng(seed)
    name = type(metric).__name__
    labels = generator.integers(0, OUTPUTS, rows)
    if takes_labels(metric):
        t = labels.astype(np.int32)
    elif "Categorical" in name or name.startswith(("OneHot", "KLD", "F1")):
        t = np.eye(OUTPUTS, dtype=dtype)[labels]
    elif name.startswith(("R2", "Mean", "Root", "Cosine", "LogCosh")):
        t = generator.normal(size=(rows, OUTPUTS)).astype(dtype)
    else:
        t = generator.integers(0, 2, (rows, OUTPUTS)).astype(dtype)
    y = generator.uniform(0.01, 0.99, size=(rows, OUTPUTS))
    if isinstance(metric, metrics._thresholds.ThresholdMetric):
        y = np.round(y, 1)
    return y.astype(dtype), t


def engine_of(*chosen, dtype="float64", weighted=False):
    """Return an engine whose outputs are its inputs, with a loss that uses the metric's kind of targets."""
    model = fastnn.Sequential([layers.Dense(OUTPUTS, input_shape=(OUTPUTS,), dtype=dtype)])
    model.layers[0].kernel[...] = np.eye(OUTPUTS)
    loss = (
        losses.SparseCategoricalCrossentropy(from_logits=True)
        if takes_labels(chosen[0])
        else losses.HalfMeanSquaredError()
    )
    model._engine.compile([loss.head(OUTPUTS, [metric.measure(weighted) for metric in chosen])])
    return model._engine


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("member", "config"), MEMBERS)
def test_the_engine_computes_the_formula(member, config, dtype):
    metric = member(**config)
    y, t = sample(metric, dtype)
    for weighted in (False, True):
        w = np.random.default_rng(9).uniform(0, 2, ROWS).astype(dtype)
        engine = engine_of(metric, dtype=dtype, weighted=weighted)
        expected = metric._update(metric._targets_for(t, y), y, w.astype(float) if weighted else np.ones(ROWS))
        for sums in (engine.evaluate(y, t, weights=w), engine.batch_gradient(y, t, weights=w)):
            # Float64 terms are summed in another order; the sigmoid of a logit and a logarithm of float32 are rounded.
            np.testing.assert_allclose(sums[engine.states[0]], expected, rtol=1e-6 if dtype == "float32" else 1e-11)
            np.testing.assert_allclose(metric.value(sums[engine.states[0]]), metric.value(expected), rtol=1e-6)


@pytest.mark.parametrize(("member", "config"), MEMBERS)
def test_rows_may_come_in_any_parts(member, config):
    whole, parts = member(**config), member(**config)
    y, t = sample(whole)
    w = np.random.default_rng(2).uniform(0, 2, ROWS)
    value = whole(t, y, w)
    assert np.isfinite(value).all()
    for rows in np.split(np.arange(ROWS), [1, 30, 31, 100]):
        parts.update_state(t[rows], y[rows], w[rows])
    np.testing.assert_allclose(parts.result(), value, rtol=1e-9)
    parts.reset_state()
    assert parts.result() == 0
    np.testing.assert_allclose(parts(t, y, w), value, rtol=1e-12)


@pytest.mark.parametrize(("member", "config"), MEMBERS)
def test_a_weight_of_two_is_the_row_twice(member, config):
    if member is metrics.R2Score and config.get("num_regressors"):
        pytest.skip("the adjusted score counts rows, not weights, as Keras does")
    metric = member(**config)
    y, t = sample(metric)
    w = np.ones(ROWS)
    w[:20] = 2
    weighted = metric(t, y, w)
    order = np.r_[np.arange(ROWS), :20]
    np.testing.assert_allclose(member(**config)(t[order], y[order]), weighted, rtol=1e-9)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("labels", [False, True])
def test_bits_do_not_depend_on_threads(labels):
    chosen = [
        metric
        for member in REGISTERED
        for metric in [member(**SETTINGS.get(member.__name__, [{}])[0])]
        if takes_labels(metric) == labels
    ]
    y, t = sample(chosen[0], "float32", rows=3000)
    w = np.random.default_rng(1).uniform(0, 2, 3000).astype(np.float32)

    def trained():
        engine = engine_of(*chosen, dtype="float32", weighted=True)
        return engine.train(y, t, None, 500, RATE, weights=w)[0], engine.evaluate(y, t, weights=w)

    same_on_any_threads(trained)


@pytest.mark.parametrize(("member", "config"), MEMBERS)
def test_the_configuration_goes_there_and_back(member, config):
    metric = member(**config, name="mine")
    again = metrics.get(metrics.serialize(metric))
    assert type(again) is member
    assert again.name == "mine"
    assert again.get_config() == metric.get_config()
    y, t = sample(metric)
    np.testing.assert_array_equal(again(t, y), metric(t, y))


@pytest.mark.parametrize("member", REGISTERED)
def test_a_model_reports_it_under_its_name(member):
    metric = member(**SETTINGS.get(member.__name__, [{}])[0])
    y, t = sample(metric, "float32")
    loss = "sparse_categorical_crossentropy" if takes_labels(metric) else "mse"
    model = fastnn.Sequential([layers.Dense(OUTPUTS, "softmax", input_shape=(OUTPUTS,))])
    model.compile("sgd", loss, metrics=[metric])
    if getattr(metric, "from_logits", False):
        pytest.skip("a softmax gives no logits")
    logs = model.fit(y, t, verbose=0, validation_data=(y, t)).history
    assert list(logs) == ["loss", metric.name, "val_loss", f"val_{metric.name}"]
    predictions = model.predict(y)
    np.testing.assert_allclose(logs[f"val_{metric.name}"][0], metric(t, predictions), rtol=1e-5, atol=1e-7)


def test_roc_and_pr_areas_approach_the_exact_ones():
    """The area under ROC is the chance that a positive scores above a negative."""
    generator = np.random.default_rng(0)
    t = generator.integers(0, 2, 2000)
    y = 1 / (1 + np.exp(-(generator.normal(size=2000) + t)))
    exact = (y[t == 1][:, None] > y[t == 0]).mean()
    # A curve of 2,000 points in 200 strips: the error is less than the area of a strip.
    assert abs(metrics.AUC()(t, y) - exact) < 1e-3
    assert abs(metrics.AUC(num_thresholds=5000)(t, y) - exact) < 1e-4
    order = np.argsort(-y)
    precision = t[order].cumsum() / np.arange(1, 2001)
    assert abs(metrics.AUC(curve="PR", num_thresholds=5000)(t, y) - precision[t[order] == 1].mean()) < 2e-3


def test_labels_stand_for_one_hot_rows():
    generator = np.random.default_rng(0)
    y, labels = generator.dirichlet(np.ones(4), 50), generator.integers(0, 4, 50)
    for metric in (metrics.AUC(), metrics.Precision(), metrics.F1Score(average="macro")):
        value = metric(np.eye(4)[labels], y)
        metric.reset_state()
        assert metric(labels, y) == value


def test_predictions_outside_the_unit_interval_are_reported():
    model = fastnn.Sequential([layers.Dense(1, input_shape=(2,))])
    model.layers[0].kernel[...] = 5
    model.compile("sgd", "mse", metrics=["auc"])
    with pytest.raises(ValueError, match="metric 'auc' needs predictions from 0 to 1, got 4 outside"):
        model.evaluate(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    assert np.isnan(metrics.AUC()([1, 0], [np.nan, 0.5]))


def test_two_metrics_of_one_name_have_two_keys():
    model = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(2,))])
    model.compile("sgd", "mse", metrics=[metrics.AUC(), metrics.AUC(curve="PR"), "mae"])
    assert model.metrics_names == ["loss", "auc", "auc_1", "mae"]


def test_metrics_of_a_saved_model_keep_their_constants(tmp_path):
    model = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(2,))])
    model.compile("sgd", "mse", metrics=[metrics.Precision(thresholds=[0.2, 0.8]), "mae"])
    x, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    model.save(tmp_path / "m.fastnn")
    again = fastnn.load_model(tmp_path / "m.fastnn")
    first, second = (m.evaluate(x, y, verbose=0) for m in (model, again))
    np.testing.assert_array_equal(first[1], second[1])
    assert first[1].shape == (2,)
    assert first[2] == second[2]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: metrics.AUC(curve="ROK"), ValueError, "curve 'ROK' is unknown; known are PR, ROC"),
        (lambda: metrics.AUC(num_thresholds=1), ValueError, "num_thresholds must be an integer of at least 2"),
        (lambda: metrics.AUC(num_labels=3), ValueError, "num_labels needs multi_label=True"),
        (lambda: metrics.AUC(thresholds=[2]), ValueError, "thresholds must be from 0 to 1, got 2"),
        (lambda: metrics.Precision(top_k=0), ValueError, "top_k must be an integer of at least 1 or None, got 0"),
        (lambda: metrics.Precision(thresholds=[]), ValueError, "thresholds must hold at least one number"),
        (lambda: metrics.Precision(class_id=3)([[1, 0]], [[0.5, 0.5]]), ValueError, r"class_id must be below .* 2"),
        (lambda: metrics.FBetaScore(beta=0.0), ValueError, "beta must be more than 0"),
        (lambda: metrics.F1Score("mean"), ValueError, "or None, got 'mean'"),
        (lambda: metrics.TopKCategoricalAccuracy(k=1.5), ValueError, "k must be an integer of at least 1, got 1.5"),
        (lambda: metrics.MeanIoU(num_classes=0), ValueError, "num_classes must be an integer of at least 1, got 0"),
        (lambda: metrics.R2Score(num_regressors=-1), ValueError, "num_regressors must be an integer of at least 0"),
        (lambda: metrics.BinaryAccuracy(threshold="high"), TypeError, "threshold must be a number, got str"),
        (lambda: metrics.get("precison"), ValueError, "did you mean 'precision'"),
        (lambda: metrics.get("acuracy"), ValueError, "did you mean 'accuracy'"),
        (lambda: metrics.get("axc"), ValueError, "did you mean .*'acc'"),
        (lambda: metrics.BinaryAccuracy()([[1]], [[0.5], [0.5]]), ValueError, r"the shape of y_pred, \(2, 1\)"),
        (lambda: metrics.MeanSquaredError()([[1]], [[0.5]], [1, 2]), ValueError, r"one number a row, shape \(1,\)"),
        (lambda: metrics.get(metrics.Metric()), TypeError, "derive from .*CustomMetric, got Metric, which has no rule"),
        (lambda: metrics.get(metrics.CustomMetric), TypeError, "got CustomMetric, which has no rule"),
    ],
)  # fmt: skip
def test_bad_arguments_get_one_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("method", ["interpolation", "minoring", "majoring"])
def test_the_area_of_one_class_is_nothing(label, method):
    area = metrics.AUC(summation_method=method)([[label], [label]], [[0.2], [0.4]])
    assert area == 0
    assert not np.signbit(area)


@pytest.mark.parametrize("loss", ["binary_crossentropy", "binary_focal_crossentropy", "mse"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_accuracy_is_chosen_by_shapes_as_in_keras(loss, outputs):
    model = fastnn.Sequential([layers.Dense(outputs, "sigmoid", input_shape=(2,))])
    model.compile("sgd", loss, metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(40, 2))
    y, p = np.eye(3)[np.arange(40) % 3][:, :outputs], model.predict(x)
    expected = (y == (p > 0.5)).mean() if outputs == 1 else (y.argmax(axis=1) == p.argmax(axis=1)).mean()
    assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(expected)


def test_a_metric_with_variables_is_told_what_to_derive_from():
    own = type("Mine", (metrics.Metric,), {"__init__": lambda self: self.add_weight(name="total") or None})
    with pytest.raises(TypeError, match=r"Mine keeps variables .* derive from fastnn.metrics.CustomMetric"):
        own()


def test_metrics_that_do_not_fit_the_model_are_named():
    model = fastnn.Sequential([layers.Dense(3, input_shape=(2,))])
    with pytest.raises(ValueError, match=r"'sparse_categorical_accuracy' needs integer labels, which the loss"):
        model.compile("sgd", "mse", metrics=["sparse_categorical_accuracy"])
    with pytest.raises(ValueError, match="quantile takes 1 target columns for 3 outputs"):
        model.compile("sgd", losses.Quantile([0.1, 0.5, 0.9]), metrics=["mae"])
    with pytest.raises(ValueError, match="top_k must be at most the number of outputs, 3, got 5"):
        model.compile("sgd", "mse", metrics=[metrics.Precision(top_k=5)])
    with pytest.raises(ValueError, match="OneHotMeanIoU with sparse_y_pred=False needs 1000 outputs, got 3"):
        model.compile("sgd", "mse", metrics=[metrics.OneHotMeanIoU(1000)])


def logits_model():
    """Return a model with outputs far from 0 to 1, which an AUC cannot take, and classes beyond those of an IoU."""
    model = fastnn.Sequential([layers.Dense(1, kernel_initializer="ones", input_shape=(3,))])
    return model, np.full((40, 3), 2.0), np.ones((40, 1))


REFUSED = {
    "auc": metrics.AUC,
    "specificity": lambda: metrics.SpecificityAtSensitivity(0.5),
    "recall": lambda: metrics.RecallAtPrecision(0.5),
    "iou": lambda: metrics.MeanIoU(2),
}


RUNS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "lbfgs": lambda model, x, y: model.fit(x, y, verbose=0),
    "weighted": lambda model, x, y: model.fit(x, y, sample_weight=np.ones(40), verbose=0),
    "batches": lambda model, x, y: model.fit(iter([(x, y), (x, y)]), verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "ensemble": lambda model, x, y: fastnn.Ensemble([model]).fit(x, y, verbose=0),
}


@pytest.mark.parametrize("run", sorted(RUNS))
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_metric_that_cannot_take_the_outputs_says_so_before_the_first_step(name, run):
    model, x, y = logits_model()
    y = np.full((40, 1), 5.0) if name == "iou" else y
    chosen = {"weighted_metrics" if run == "weighted" else "metrics": [REFUSED[name]()]}
    model.compile("lbfgs" if run == "lbfgs" else "adam", "mse", **chosen)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"needs (predictions|classes) from 0 to"):
        RUNS[run](model, x, y)
    assert model.optimizer.iterations == 0
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def may_take_labels(metric):
    return getattr(metric, "sparse_y_true", metric.targets != losses.DENSE) and not hasattr(metric, "call")


@pytest.mark.parametrize("wrong", [-1, OUTPUTS, 255, 2**31 - 1, 0.5, np.nan])
@pytest.mark.parametrize(
    ("member", "config"), [member for member in MEMBERS if may_take_labels(member.values[0](**member.values[1]))]
)
def test_a_label_that_is_no_class_is_not_counted_as_another(member, config, wrong):
    """In NumPy the label -1 would be the last output, and a label past the end a row without a target."""
    metric = member(**config)
    predicted = np.full((3, OUTPUTS), 1 / OUTPUTS)
    metric.update_state([0, 1, 3], predicted)
    before = metric._state.copy()
    with pytest.raises(ValueError, match=r"y_true must hold .*labels.*, but row 1 is"):
        metric.update_state([0, wrong, 3], predicted)
    np.testing.assert_array_equal(metric._state, before)


@pytest.mark.parametrize("ignored", [-1, 255])
def test_a_label_that_is_ignored_may_be_no_class(ignored):
    predicted = np.array([[0.1, 0.2, 0.7], [0.5, 0.2, 0.3]])
    for metric in (
        metrics.SparseCategoricalCrossentropy(ignore_class=ignored),
        metrics.MeanIoU(3, ignore_class=ignored, sparse_y_pred=False),
    ):
        assert metric([ignored, 0], predicted) == type(metric)(**metric.get_config())([0], predicted[1:])
