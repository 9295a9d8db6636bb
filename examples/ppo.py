"""The pole on its cart once more, learnt by the policy itself (proximal policy optimization).

Gymnasium's CartPole-v1 counts as solved when 100 games last 475 steps on average; 500 is the most. Eight games are
played side by side for 32 steps; then the network learns from these 256 steps, twenty times, and forgets them. One head
gives the logits of the two moves, the other one what a state is worth. The gradient of the clipped objective (Schulman
et al., Proximal policy optimization algorithms, 2017) by the logits is computed here, in NumPy, with advantages as in
Schulman et al., High-dimensional continuous control using generalized advantage estimation, 2016.

    pip install gymnasium
    python examples/ppo.py [--quick] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.special import log_softmax

import fastnn
from fastnn import layers

try:
    import gymnasium
except ImportError:
    raise SystemExit("This example needs gymnasium: pip install gymnasium") from None

GAMES, STEPS, EPOCHS = 8, 32, 20
DISCOUNT, TRACE = 0.98, 0.8  # TRACE: λ, how far advantages look beyond the next state's worth
RATE, CLIP = 1e-3, 0.2  # both go to zero in a straight line


class Games:
    """Games played side by side, which begin anew when they end."""

    def __init__(self, games: int, seed: int) -> None:
        self.games = gymnasium.make_vec("CartPole-v1", num_envs=games, vectorization_mode="vector_entry_point")
        self.states, _ = self.games.reset(seed=seed)
        self.ended = np.zeros(games, bool)

    def step(self, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Play one step: rewards, and which poles fell. A game that has ended begins, whatever its move."""
        self.states, rewards, fell, cut, _ = self.games.step(moves)
        self.ended = fell | cut
        return rewards, fell


def build() -> fastnn.Sequential:
    """Two heads with two hidden layers of their own each."""

    def head(outputs: int, scale: float) -> list[layers.Layer]:
        start = fastnn.initializers.Orthogonal(np.sqrt(2))
        hidden = [layers.Dense(64, "tanh", kernel_initializer=start) for _ in range(2)]
        return [*hidden, layers.Dense(outputs, kernel_initializer=fastnn.initializers.Orthogonal(scale))]

    model = fastnn.Sequential([fastnn.Input((4,)), layers.Heads({"logits": head(2, 0.01), "worth": head(1, 1.0)})])
    model.compile(fastnn.optimizers.Adam(RATE, epsilon=1e-5, global_clipnorm=0.5))
    return model


def collect(model: fastnn.Sequential, games: Games, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Play STEPS steps of all games: states, moves, their log probabilities, advantages, and what states were worth."""
    states = np.empty((STEPS, GAMES, 4), np.float32)
    moves = np.empty((STEPS, GAMES), int)
    densities, rewards = np.empty((2, STEPS, GAMES))
    worth = np.empty((STEPS + 1, GAMES))  # of the states after the last step, too
    fell, ended, playing = np.empty((3, STEPS, GAMES), bool)
    for t in range(STEPS):
        playing[t], states[t] = ~games.ended, games.states  # a step that only begins a game teaches nothing
        answers = model.predict(states[t])
        logs = log_softmax(answers["logits"], axis=1)
        moves[t] = rng.random(GAMES) > np.exp(logs[:, 0])
        densities[t], worth[t] = logs[np.arange(GAMES), moves[t]], answers["worth"][:, 0]
        rewards[t], fell[t] = games.step(moves[t])
        ended[t] = games.ended
    worth[STEPS] = model.predict(games.states)["worth"][:, 0]

    advantages, trace = np.empty((STEPS, GAMES)), np.zeros(GAMES)
    for t in reversed(range(STEPS)):  # after a fall there is no more; a game cut at 500 steps would have gone on
        surprise = rewards[t] + DISCOUNT * worth[t + 1] * ~fell[t] - worth[t]
        trace = surprise + DISCOUNT * TRACE * trace * ~ended[t]
        advantages[t] = trace
    columns = {"states": states, "moves": moves, "densities": densities, "advantages": advantages}
    return {name: column[playing] for name, column in (columns | {"worth": worth[:-1] + advantages}).items()}


def learn(model: fastnn.Sequential, played: dict[str, np.ndarray], clip: float) -> None:
    """Take EPOCHS optimizer steps on what was played."""
    rows = np.arange(len(played["moves"]))
    advantages = played["advantages"] - played["advantages"].mean()
    advantages /= advantages.std() + 1e-8
    for _ in range(EPOCHS):
        answers = model.forward(played["states"], training=True)
        logs = log_softmax(answers["logits"], axis=1)
        ratio = np.exp(logs[rows, played["moves"]] - played["densities"])
        # The loss is the mean of -min(ratio A, clip(ratio) A); where it is clipped it has no gradient.
        held = np.where(advantages > 0, ratio > 1 + clip, ratio < 1 - clip)
        by_density = np.where(held, 0, -ratio * advantages) / len(rows)
        by_logits = -np.exp(logs) * by_density[:, None]
        by_logits[rows, played["moves"]] += by_density
        by_worth = (answers["worth"] - played["worth"][:, None]) / len(rows)  # of half the mean square
        model.backward({"logits": by_logits, "worth": by_worth}, inputs=False)
        model.apply_gradients()


def play(model: fastnn.Sequential, seed: int) -> float:
    """The mean length of 100 new games, with the move that is more likely."""
    games, predictor, running, lengths = Games(100, seed), model.freeze(), np.ones(100, bool), np.zeros(100)
    while running.any():
        lengths += running
        games.step(predictor(games.states)["logits"].argmax(axis=1))
        running &= ~games.ended
    return float(lengths.mean())


def train(seed: int, rounds: int) -> fastnn.Sequential:
    """Play and learn, in turn."""
    fastnn.utils.set_random_seed(seed)
    rng, games, model = np.random.default_rng(seed), Games(GAMES, seed), build()
    for k in range(rounds):
        left = 1 - k / rounds
        model.optimizer.learning_rate = RATE * left
        learn(model, collect(model, games, rng), CLIP * left)
    return model


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, test, print; return the least mean length of the games."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps: to see that it runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training for each (default 0)")
    given = parser.parse_args(arguments)

    rounds = 80 if given.quick else 400
    lengths = []
    for seed in given.seeds:
        begun = time.perf_counter()
        model = train(seed, rounds)
        seconds = time.perf_counter() - begun
        lengths.append(play(model, seed=123_456))  # games that training did not look at
        learnt = f"{rounds * STEPS * GAMES:,} steps played, {rounds * EPOCHS:,} of the optimizer, in {seconds:.1f} s"
        print(f"seed {seed}: {learnt}; 100 new games last {lengths[-1]:.0f} steps")
    return {"least": min(lengths)}


if __name__ == "__main__":
    main()
