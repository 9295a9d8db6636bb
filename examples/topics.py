"""Text: which part of SciPy or scikit-learn a docstring describes.

The text is on your disk already: the docstrings of the classes and functions of both libraries, a few thousand. Their
topics are the subpackages: ``scipy.optimize``, ``sklearn.cluster`` ... Whole files are held back: no test row stands
beside a training row. Words and pairs of words become tens of thousands of TF-IDF columns, of which a text has one or
two hundred: the matrix stays sparse all the way through ``fit``. The baseline is scikit-learn's MLPClassifier with the
same hidden layer, batches and number of epochs.

    python examples/topics.py [--quick]
"""

from __future__ import annotations

import argparse
import ast
import time
import timeit
import warnings
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupShuffleSplit
from sklearn.neural_network import MLPClassifier

import fastnn
from fastnn import layers

LEAST = 40  # docstrings of 100 letters or more that make a topic


def docstrings(library: ModuleType) -> dict[str, tuple[str, str]]:
    """The file and the topic of each docstring of an installed library, which is read and not run."""
    found = {}
    folder = Path(library.__path__[0])
    for path in sorted(folder.glob("[a-z]*/**/*.py")):
        if {"tests", "utils", "externals", "_lib"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                if len(text) >= 100:
                    found[text] = str(path), f"{library.__name__}.{path.relative_to(folder).parts[0]}"
    return found


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Read, train, test, print; return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="SciPy alone, fewer words: to see that it runs")
    quick = parser.parse_args(arguments).quick

    found = docstrings(scipy) if quick else docstrings(scipy) | docstrings(sklearn)
    counts = Counter(topic for _, topic in found.values())
    topics = sorted(topic for topic, count in counts.items() if count >= LEAST)
    rows = [(text, file, topics.index(topic)) for text, (file, topic) in found.items() if topic in topics]
    texts, files, labels = (np.array(column) for column in zip(*rows, strict=True))
    split = GroupShuffleSplit(1, test_size=0.25, random_state=0).split(texts, labels, files)
    train, test = next(split)

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, dtype=np.float32)
    words.set_params(max_features=4_000 if quick else 30_000)
    x_train, x_test = words.fit_transform(texts[train]), words.transform(texts[test])
    print(f"{len(train)} docstrings of {len(topics)} topics to train on, {len(test)} of other files to test on")
    print(f"{x_train.shape[1]:,} columns, {x_train.nnz / len(train):.0f} of them not zero in a row")

    epochs, hidden, batch = 5 if quick else 10, 64, 32
    fastnn.utils.set_random_seed(1)
    model = fastnn.Sequential(
        [
            layers.Dense(hidden, activation="relu", input_shape=(x_train.shape[1],)),
            layers.Dropout(0.3),
            layers.Dense(len(topics), activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    begun = time.perf_counter()
    model.fit(x_train, labels[train], batch_size=batch, epochs=epochs, verbose=0)
    ours = time.perf_counter() - begun
    accuracy = model.evaluate(x_test, labels[test], verbose=0, return_dict=True)["accuracy"]
    print(f"fastnn        accuracy {accuracy:.1%}, {epochs} epochs in {ours:.2f} s")

    peer = MLPClassifier((hidden,), batch_size=batch, max_iter=epochs, n_iter_no_change=epochs, random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as fastnn makes, no more
        begun = time.perf_counter()
        peer.fit(x_train, labels[train])
    theirs, baseline = time.perf_counter() - begun, float(peer.score(x_test, labels[test]))
    print(f"scikit-learn  accuracy {baseline:.1%}, {epochs} epochs in {theirs:.2f} s")

    text = words.transform(["Find the shortest path between two nodes of a graph, given as a matrix of distances."])
    # not frozen: a frozen Predictor reads dense rows
    each = min(timeit.repeat(lambda: model.predict(text), number=100, repeat=10)) / 100
    answer = topics[int(model.predict(text).argmax())]
    print(f"{each * 1e6:.1f} µs a text; 'Find the shortest path between two nodes of a graph ...' is {answer}")
    usual = float(np.mean(labels[test] == np.bincount(labels[train]).argmax()))
    return {"accuracy": accuracy, "baseline": baseline, "usual": usual, "times_faster": theirs / ours}


if __name__ == "__main__":
    main()
