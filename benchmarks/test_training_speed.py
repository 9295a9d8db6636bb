"""How fast does it train? One epoch of 784-128-128-10, Adam, batch 32: fastnn beside PyTorch eager, in one run.

    python -m pytest benchmarks --benchmark-only            ours alone, by pytest-benchmark
    python benchmarks/test_training_speed.py                beside PyTorch (pip install torch==2.13.0): pairwise ratios

Both networks see all rows once an epoch in a shuffled order, in memory, by index; PyTorch runs its fused Adam.
"""

import argparse
import statistics
import time

import numpy as np
import pytest

import fastnn

ROWS, FEATURES, CLASSES, BATCH = 60_000, 784, 10, 32


def data(rows=ROWS):
    generator = np.random.default_rng(0)
    return generator.random((rows, FEATURES), dtype=np.float32), generator.integers(0, CLASSES, rows)


def ours():
    model = fastnn.Sequential(
        [
            fastnn.layers.Dense(128, activation="relu", input_shape=(FEATURES,)),
            fastnn.layers.Dense(128, activation="relu"),
            fastnn.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("threads", [1, 2])
def test_one_epoch(benchmark, threads):
    fastnn.set_num_threads(threads)
    x, y = data()
    model = ours()
    benchmark.pedantic(model.fit, (x, y), {"verbose": 0, "batch_size": BATCH}, rounds=3, warmup_rounds=1)


def torch_epoch(x, y, threads):
    """A function that trains one epoch in PyTorch."""
    import torch

    torch.set_num_threads(threads)
    model = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 128), torch.nn.ReLU(),
        torch.nn.Linear(128, 128), torch.nn.ReLU(),
        torch.nn.Linear(128, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, fused=True)
    loss = torch.nn.CrossEntropyLoss()
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)

    def epoch():
        for index in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss(model(inputs[index]), labels[index]).backward()
            optimizer.step()

    return epoch


def torch_row(x):
    """A function that predicts one row in PyTorch."""
    import torch

    model = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 128), torch.nn.ReLU(),
        torch.nn.Linear(128, 128), torch.nn.ReLU(),
        torch.nn.Linear(128, CLASSES), torch.nn.Softmax(dim=-1),
    )  # fmt: skip
    row = torch.from_numpy(x[:1])

    def predict():
        with torch.inference_mode():
            for _ in range(1000):
                model(row)

    return predict


def compare(name, first, second, pairs):
    """Run the two in turn and print the pairwise ratios second / first."""
    first(), second()
    times = []
    for _ in range(pairs):
        marks = [time.perf_counter()]
        for function in (first, second):
            function()
            marks.append(time.perf_counter())
        times.append((marks[1] - marks[0], marks[2] - marks[1]))
    ratios = sorted(b / a for a, b in times)
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    spread = f"{statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{name:<44} fastnn {mine:8.4f} s   PyTorch {theirs:8.4f} s   ratio {spread}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    x, y = data()
    row = x[:1]
    for threads in (1, 2):
        fastnn.set_num_threads(threads)
        model = ours()
        theirs = torch_epoch(x, y, threads)

        def epoch(model=model):
            model.fit(x, y, verbose=0, batch_size=BATCH)

        compare(f"one epoch, batch {BATCH}, {threads} thread(s)", epoch, theirs, pairs)

    def predict():
        for _ in range(1000):
            model.predict(row)

    compare("1,000 single rows, through predict", predict, torch_row(x), pairs)


if __name__ == "__main__":
    main()
