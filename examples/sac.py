"""A pendulum: swing it up and keep it there with a motor too weak to lift it (soft actor-critic).

Gymnasium's Pendulum-v1 gives a reward of 0 for standing still at the top and down to -16 a step elsewhere; a mean
return of -200 over 100 episodes of 200 steps counts as solved here. The actor gives a normal distribution over the
motor's torque, squashed by tanh; two critics say what a torque is worth, of which the lower one counts; slow copies of
the critics say what the next one is worth; the temperature α weighs how random the actor stays (Haarnoja et al., Soft
actor-critic algorithms and applications, 2018). The two critics are one network with two heads, so a call serves both.
The actor learns from the critics' gradients by their inputs, which ``backward`` returns.

    pip install gymnasium
    python examples/sac.py [--quick] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastnn
from fastnn import layers

try:
    import gymnasium
except ImportError:
    raise SystemExit("This example needs gymnasium: pip install gymnasium") from None

UNITS, BATCH, DISCOUNT, RATE = 256, 256, 0.99, 1e-3
FOLLOW = 0.005  # how far the slow critics move towards the critics after each step
RANDOM_STEPS = 500  # before the actor chooses the torque, and learning begins
LOG_DEVIATIONS = -5.0, 2.0  # between these bounds
Batch = dict[str, np.ndarray]


def perceptron(units: int, outputs: int) -> list[layers.Layer]:
    """Two hidden layers, and the outputs."""
    return [*(layers.Dense(units, activation="relu") for _ in range(2)), layers.Dense(outputs)]


class Agent:
    """Actor, critics, slow copies of the critics, and the temperature, for observations and actions of such widths."""

    def __init__(self, observations: int, actions: int, units: int, rng: np.random.Generator) -> None:
        self.rng, self.actions = rng, actions
        self.actor = fastnn.Sequential([fastnn.Input((observations,)), *perceptron(units, 2 * actions)])
        self.actor.compile(fastnn.optimizers.Adam(RATE))
        heads = layers.Heads({name: perceptron(units, 1) for name in ("first", "second")})
        self.critics = fastnn.Sequential([fastnn.Input((observations + actions,)), heads])
        self.critics.compile(fastnn.optimizers.Adam(RATE), {"first": "mse", "second": "mse"})
        self.slow = fastnn.clone_model(self.critics)
        self.slow.copy_weights_from(self.critics)
        self.log_temperature = 0.0

    def sample(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Draw a = tanh(mean + deviation · noise) of the actor's outputs; a, log π(a), the noise, and the deviation."""
        low, high = LOG_DEVIATIONS
        mean, raw = np.split(outputs, 2, axis=1)
        deviation = np.exp(low + (high - low) / 2 * (np.tanh(raw) + 1))
        noise = self.rng.standard_normal(mean.shape, np.float32)
        a = np.tanh(mean + deviation * noise)
        density = -(noise**2) / 2 - np.log(deviation) - np.log(2 * np.pi) / 2 - np.log(1 - a**2 + 1e-6)
        return a, density.sum(axis=1, keepdims=True), noise, deviation

    def act(self, observation: np.ndarray) -> np.ndarray:
        """A random action, between -1 and 1."""
        return self.sample(self.actor.predict(observation[None]))[0][0]

    def best(self, observations: np.ndarray) -> np.ndarray:
        """The most likely actions."""
        return np.tanh(self.actor.predict(observations)[:, : self.actions])

    def learn(self, batch: Batch) -> None:
        """One step for the critics, the actor, the temperature and the slow critics."""
        temperature = np.exp(self.log_temperature)
        next_actions, next_density, _, _ = self.sample(self.actor.predict(batch["next_observations"]))
        later = self.slow.predict(np.hstack([batch["next_observations"], next_actions]))
        later = np.minimum(later["first"], later["second"]) - temperature * next_density
        worth = batch["rewards"] + DISCOUNT * (1 - batch["ends"]) * later
        x = np.hstack([batch["observations"], batch["actions"]])
        self.critics.train_on_batch(x, {"first": worth, "second": worth})

        # The actor's loss is the mean of α log π(a) - min Q(a), a = tanh(u), u = mean + deviation · noise.
        outputs = self.actor.forward(batch["observations"], training=True)
        a, density, noise, deviation = self.sample(outputs)
        values = self.critics.forward(np.hstack([batch["observations"], a]), training=True)
        lower = values["first"] < values["second"]
        by_inputs = self.critics.backward({"first": lower / -BATCH, "second": ~lower / -BATCH}, weights=False)
        by_a = by_inputs[:, -self.actions :]
        by_u = by_a * (1 - a**2) + temperature / BATCH * 2 * a  # log π holds -log(1 - tanh(u)²)
        low, high = LOG_DEVIATIONS
        by_log_deviation = by_u * noise * deviation - temperature / BATCH
        raw = np.tanh(outputs[:, self.actions :])
        self.actor.backward(np.hstack([by_u, by_log_deviation * (high - low) / 2 * (1 - raw**2)]), inputs=False)
        self.actor.apply_gradients()

        self.log_temperature += RATE * float(density.mean() - self.actions)  # towards an entropy of -1 an action
        self.slow.blend(self.critics, FOLLOW)


class Memory:
    """All steps: observation, action, reward, next observation, and whether the episode ended there for good."""

    def __init__(self, steps: int, observations: int, actions: int) -> None:
        widths = {"observations": observations, "actions": actions, "rewards": 1, "next_observations": observations}
        self.columns = {name: np.empty((steps, width), np.float32) for name, width in (widths | {"ends": 1}).items()}
        self.count = 0

    def add(self, *step: np.ndarray | float) -> None:
        """Remember one step."""
        for column, value in zip(self.columns.values(), step, strict=True):
            column[self.count] = value
        self.count += 1

    def draw(self, rng: np.random.Generator) -> Batch:
        """BATCH steps at random."""
        rows = rng.integers(self.count, size=BATCH)
        return {name: column[rows] for name, column in self.columns.items()}


def play(agent: Agent, seed: int, episodes: int = 100) -> float:
    """The mean return of new episodes, played side by side with the most likely actions."""
    games = gymnasium.make_vec("Pendulum-v1", num_envs=episodes, vectorization_mode="sync")
    scale = games.single_action_space.high
    observations, _ = games.reset(seed=seed)
    returns, ended = np.zeros(episodes), np.zeros(episodes, bool)
    while not ended.all():
        observations, rewards, ends, cuts, _ = games.step(scale * agent.best(observations))
        returns += rewards * ~ended
        ended |= ends | cuts
    games.close()
    return float(returns.mean())


def train(seed: int, steps: int, units: int = UNITS, name: str = "Pendulum-v1") -> Agent:
    """Play so many steps of a game, and learn from BATCH remembered ones after each."""
    fastnn.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    game = gymnasium.make(name)
    observations, actions = game.observation_space.shape[0], game.action_space.shape[0]
    scale = game.action_space.high
    agent, memory = Agent(observations, actions, units, rng), Memory(steps, observations, actions)
    observation, _ = game.reset(seed=seed)
    for step in range(steps):
        action = rng.uniform(-1, 1, actions) if step < RANDOM_STEPS else agent.act(observation)
        next_observation, reward, ended, cut, _ = game.step(scale * action)
        memory.add(observation, action, reward, next_observation, ended)
        observation = game.reset()[0] if ended or cut else next_observation
        if step >= RANDOM_STEPS:
            agent.learn(memory.draw(rng))
    return agent


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, test, print; return the mean returns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small network: to see that it runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training for each (default 0)")
    given = parser.parse_args(arguments)

    steps, units = (4000, 64) if given.quick else (6000, UNITS)
    returns = []
    for seed in given.seeds:
        begun = time.perf_counter()
        agent = train(seed, steps, units)
        seconds = time.perf_counter() - begun
        returns.append(play(agent, seed=123_456))  # episodes that training did not look at
        rate = (steps - RANDOM_STEPS) / seconds
        print(f"seed {seed}: {steps:,} steps in {seconds:.1f} s, {rate:.0f} a second; mean return {returns[-1]:.0f}")
    return {"least": min(returns)}


if __name__ == "__main__":
    main()
