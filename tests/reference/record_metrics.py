"""Metrics: the result after each of three batches, with and without sample weights."""

import keras
import numpy as np
from record_losses import OUTPUTS, data
from recorder import DTYPES, Recording, make, rounded, use

# Name -> class, config, kind of data.
CASES = {
    "binary_accuracy": ("BinaryAccuracy", {}, "binary"),
    "binary_accuracy_threshold": ("BinaryAccuracy", {"threshold": 0.7}, "binary"),
    "categorical_accuracy": ("CategoricalAccuracy", {}, "one-hot"),
    "sparse_categorical_accuracy": ("SparseCategoricalAccuracy", {}, "labels"),
    "top_k": ("TopKCategoricalAccuracy", {"k": 2}, "one-hot"),
    "sparse_top_k": ("SparseTopKCategoricalAccuracy", {"k": 2}, "labels"),
    "auc": ("AUC", {}, "single"),
    "auc_pr": ("AUC", {"curve": "PR"}, "single"),
    "auc_thresholds": ("AUC", {"num_thresholds": 20}, "single"),
    "auc_thresholds_pr": ("AUC", {"num_thresholds": 20, "curve": "PR"}, "single"),
    "auc_logits": ("AUC", {"from_logits": True}, "single logits"),
    "auc_flat": ("AUC", {}, "binary"),
    "precision": ("Precision", {}, "single"),
    "precision_threshold": ("Precision", {"thresholds": 0.3}, "single"),
    "precision_class": ("Precision", {"class_id": 1}, "one-hot"),
    "precision_top_k": ("Precision", {"top_k": 2}, "one-hot"),
    "recall": ("Recall", {}, "single"),
    "recall_threshold": ("Recall", {"thresholds": 0.3}, "single"),
    "recall_class": ("Recall", {"class_id": 1, "thresholds": 0.3}, "one-hot"),
    "f1": ("F1Score", {}, "one-hot"),
    "f1_macro": ("F1Score", {"average": "macro"}, "one-hot"),
    "f1_micro": ("F1Score", {"average": "micro"}, "one-hot"),
    "f1_weighted": ("F1Score", {"average": "weighted"}, "one-hot"),
    "f1_threshold": ("F1Score", {"average": "macro", "threshold": 0.5}, "binary"),
    "fbeta": ("FBetaScore", {"average": "macro", "beta": 2.0}, "one-hot"),
    "iou": ("IoU", {"num_classes": 4, "target_class_ids": [0, 2], "sparse_y_pred": False}, "labels"),
    "mean_iou": ("MeanIoU", {"num_classes": 4, "sparse_y_pred": False}, "labels"),
    "one_hot_mean_iou": ("OneHotMeanIoU", {"num_classes": 4}, "one-hot"),
    "sensitivity_at_specificity": ("SensitivityAtSpecificity", {"specificity": 0.6}, "single"),
    "specificity_at_sensitivity": ("SpecificityAtSensitivity", {"sensitivity": 0.4}, "single"),
    "precision_at_recall": ("PrecisionAtRecall", {"recall": 0.7}, "single"),
    "recall_at_precision": ("RecallAtPrecision", {"precision": 0.5, "num_thresholds": 30}, "single"),
    "true_positives": ("TruePositives", {}, "single"),
    "true_negatives": ("TrueNegatives", {}, "single"),
    "false_positives": ("FalsePositives", {"thresholds": 0.4}, "single"),
    "false_negatives": ("FalseNegatives", {}, "single"),
    "mae": ("MeanAbsoluteError", {}, "real"),
    "mse": ("MeanSquaredError", {}, "real"),
    "rmse": ("RootMeanSquaredError", {}, "real"),
    "mape": ("MeanAbsolutePercentageError", {}, "positive"),
    "msle": ("MeanSquaredLogarithmicError", {}, "positive"),
    "r2": ("R2Score", {}, "real"),
    "r2_variance": ("R2Score", {"class_aggregation": "variance_weighted_average"}, "real"),
    "r2_each": ("R2Score", {"class_aggregation": None}, "real"),
    "cosine_similarity": ("CosineSimilarity", {}, "real"),
    "log_cosh": ("LogCoshError", {}, "real"),
    "hinge": ("Hinge", {}, "signs"),
    "squared_hinge": ("SquaredHinge", {}, "signs"),
    "categorical_hinge": ("CategoricalHinge", {}, "one-hot logits"),
    "poisson": ("Poisson", {}, "positive"),
    "kl_divergence": ("KLDivergence", {}, "soft"),
    "bce": ("BinaryCrossentropy", {}, "binary"),
    "bce_logits": ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "binary logits"),
    "cce": ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "one-hot"),
    "scce": ("SparseCategoricalCrossentropy", {}, "labels"),
    "scce_logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, "labels logits"),
}
SIZES = (20, 33, 7)
FLOAT32_ONLY = ("top_k", "sparse_top_k")  # TensorFlow's top-k refuses float64


def main():
    """Record three batches of each kind of data through each metric, in both element types."""
    recording = Recording("metrics")
    recording.put("sizes", np.array(SIZES))
    rows = sum(SIZES)
    generator = np.random.default_rng(6)
    weights = rounded(generator.random(rows) + 0.25)
    recording.put("weights", weights)
    for kind in sorted({kind for _, _, kind in CASES.values()}):
        target, prediction = data(kind.replace("single", "binary"), np.random.default_rng(7), rows)
        if kind.startswith("single"):
            target, prediction = target[:, :1], prediction[:, :1]
        recording.put(f"{kind}/target", target)
        recording.put(f"{kind}/prediction", prediction)
    for name, (class_name, config, kind) in CASES.items():
        case = {"class_name": class_name, "config": config}
        recording.case(name, data=kind, **case)
        target, prediction = data(kind.replace("single", "binary"), np.random.default_rng(7), rows)
        if kind.startswith("single"):
            target, prediction = target[:, :1], prediction[:, :1]
        for dtype in DTYPES[:1] if name in FLOAT32_ONLY else DTYPES:
            use(dtype)
            for weighted in (False, True):
                # The dtype is given, as intersections over unions would otherwise cut weights to whole numbers.
                metric = make(keras.metrics, case | {"config": config | {"dtype": dtype}})
                results, start = [], 0
                for size in SIZES:
                    part = slice(start, start + size)
                    metric.update_state(
                        target[part].astype(dtype) if target.dtype.kind == "f" else target[part],
                        prediction[part].astype(dtype),
                        sample_weight=weights[part].astype(dtype) if weighted else None,
                    )
                    results.append(np.asarray(metric.result(), dtype))
                    start += size
                recording.put(f"{name}/{dtype}/{'weighted' if weighted else 'plain'}", np.stack(results))
    recording.save()


if __name__ == "__main__":
    assert OUTPUTS == 4  # the cases' class_id and top_k are made for four outputs
    main()
