"""A game: keep a pole upright on a cart, learnt from nothing but playing (a double deep Q-network).

Gymnasium's CartPole-v1 counts as solved when 100 games last 475 steps on average; 500 is the most. After every step
of the game the network takes one small optimizer step on 64 remembered ones. Two networks share the work: one picks
the best next move, a slower copy of it says what that move is worth (van Hasselt, Guez and Silver, 2016). The
gradient of the loss by the outputs is computed here, in NumPy, and handed to ``backward``: any loss will do.

    pip install gymnasium
    python examples/cartpole.py [--quick] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import time
import timeit
from collections.abc import Callable

import numpy as np

import fastnn
from fastnn import layers

try:
    import gymnasium
except ImportError:
    raise SystemExit("This example needs gymnasium: pip install gymnasium") from None

BATCH, DISCOUNT, FOLLOW = 64, 0.99, 0.01  # FOLLOW: how far the slow copy moves towards the network after each step
RANDOM_STEPS, MOST_STEPS = 5000, 60000  # the share of random moves falls from 1 to 0.02 during the first so many steps


def build() -> fastnn.Sequential:
    """Position, speed, angle and its speed, to the worth of a push to the left and to the right."""
    hidden = [layers.Dense(128, activation="relu") for _ in range(2)]
    return fastnn.Sequential([fastnn.Input((4,)), *hidden, layers.Dense(2)])


def play(values: Callable[[np.ndarray], np.ndarray], seed: int) -> float:
    """The mean length of 100 new games played side by side, with the move that is worth most."""
    games = gymnasium.make_vec("CartPole-v1", num_envs=100, vectorization_mode="vector_entry_point")
    states, _ = games.reset(seed=seed)
    running, steps = np.ones(100, bool), np.zeros(100)
    while running.any():
        steps += running
        states, _, fallen, at_the_end, _ = games.step(values(states).argmax(axis=1))
        running &= ~(fallen | at_the_end)
    games.close()
    return float(steps.mean())


class Memory:
    """All steps of all games: state, move, next state, and whether the pole fell."""

    def __init__(self) -> None:
        self.states, self.next_states = np.empty((2, MOST_STEPS, 4), np.float32)
        self.moves, self.fell = np.empty((2, MOST_STEPS), int)
        self.count = 0

    def add(self, state: np.ndarray, move: int, next_state: np.ndarray, fell: bool) -> None:
        """Remember one step."""
        at, self.count = self.count, self.count + 1
        self.states[at], self.moves[at], self.next_states[at], self.fell[at] = state, move, next_state, fell


def learn(model: fastnn.Sequential, slow: fastnn.Sequential, memory: Memory, rng: np.random.Generator) -> None:
    """One optimizer step on BATCH remembered steps."""
    drawn, each = rng.integers(memory.count, size=BATCH), np.arange(BATCH)
    best = model.predict(memory.next_states[drawn]).argmax(axis=1)
    later = slow.predict(memory.next_states[drawn])[each, best]
    wanted = 1 + DISCOUNT * later * (1 - memory.fell[drawn])  # a step is worth 1, and after a fall there is no more
    moves = memory.moves[drawn]
    error = model.forward(memory.states[drawn])[each, moves] - wanted
    gradient = np.zeros((BATCH, 2), np.float32)  # only the moves that were made have a say
    gradient[each, moves] = np.clip(error, -1, 1) / BATCH  # of the Huber loss
    model.backward(gradient)
    model.apply_gradients()
    for copy, weights in zip(slow.weights, model.weights, strict=True):
        copy += FOLLOW * (weights - copy)


def train(seed: int, goal: float) -> tuple[fastnn.Sequential, int]:
    """Play and learn until 100 games last `goal` steps on average; the network, and the steps that took."""
    fastnn.utils.set_random_seed(seed)
    rng, memory = np.random.default_rng(seed), Memory()
    model = build()
    model.compile(fastnn.optimizers.Adam(1e-3), "huber")
    slow = fastnn.clone_model(model)
    slow.set_weights(model.get_weights())
    game = gymnasium.make("CartPole-v1")
    state, _ = game.reset(seed=seed)
    for step in range(MOST_STEPS):
        guess = rng.random() < max(0.02, 1 - step / RANDOM_STEPS)
        move = int(rng.integers(2) if guess else model.predict(state[None]).argmax())
        next_state, _, fell, at_the_end, _ = game.step(move)
        memory.add(state, move, next_state, fell)
        state = game.reset()[0] if fell or at_the_end else next_state
        if memory.count >= 500:
            learn(model, slow, memory, rng)
        if step % 1000 == 999 and play(model.freeze(), seed=step) >= goal:
            break
    return model, memory.count


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, test, print; return the mean length of the games."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="until games last 150 steps: to see that it runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training for each (default 0)")
    given = parser.parse_args(arguments)

    rng = np.random.default_rng(0)
    chance = play(lambda states: rng.random((len(states), 2)), seed=1)
    print(f"CartPole-v1: 100 games with random moves last {chance:.0f} steps on average, 475 count as solved")
    lengths = []
    for seed in given.seeds:
        begun = time.perf_counter()
        model, steps = train(seed, 150 if given.quick else 490)
        seconds = time.perf_counter() - begun
        predictor = model.freeze()
        lengths.append(play(predictor, seed=123_456))  # games that training did not look at
        played = f"{steps:,} steps played and learnt from in {seconds:.1f} s"
        print(f"seed {seed}: {played}; 100 new games last {lengths[-1]:.0f} steps")
    state = np.zeros(4, np.float32)
    each = min(timeit.repeat(lambda: predictor(state), number=100, repeat=10)) / 100
    print(f"frozen: {each * 1e6:.1f} µs a move")
    return {"least": min(lengths), "chance": chance}


if __name__ == "__main__":
    main()
