"""Soft actor-critic beside stable-baselines3's and CleanRL's: steps of learning a second, whole loops in turn.

    pip install stable-baselines3 gymnasium              # and for CleanRL's script: tyro tensorboard
    python benchmarks/reinforcement.py
    python benchmarks/reinforcement.py --cleanrl sac_continuous_action.py --threads 1 2 --rounds 40

A step is one of the game (gymnasium's pendulum) and one update from 256 remembered ones, with networks of 256-256
units. Each contender is its own code as it is, in a process of its own: examples/sac.py, stable-baselines3's SAC, and
the script of github.com/vwxyzjn/cleanrl (a path to it; the repository of fastnn holds no code of others). They share
the game alone, which waits for its turn inside of `step` and times it. Ratios are those within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also when this is run as a module

import machine
import numpy as np

GAME, BATCH, WIDTH, OBSERVATIONS, ACTIONS = "PendulumInTurn-v0", 256, 256, 3, 1
WARM_UP = 550  # steps before the first turn: contenders play at random for 500, and do not learn yet
SETTLE = 0.05  # seconds: threads that spin after their last task are asleep before the next contender's turn
FOREVER = 10**6  # steps: the parent process ends a contender
EXAMPLE = Path(__file__).parents[1] / "examples" / "sac.py"


def flops() -> dict[str, float]:
    """The floating-point operations of an update that no algorithm of this kind can leave out, by network and pass."""
    hidden = WIDTH * WIDTH
    critic = BATCH * ((OBSERVATIONS + ACTIONS) * WIDTH + hidden + WIDTH)  # multiply-adds of one forward pass
    actor = BATCH * (OBSERVATIONS * WIDTH + hidden + WIDTH * 2 * ACTIONS)
    first, first_of_actor = BATCH * (OBSERVATIONS + ACTIONS) * WIDTH, BATCH * OBSERVATIONS * WIDTH
    counts = {
        "the actor's next actions": actor,
        "the slow critics": 2 * critic,
        "the critics' step": 2 * (3 * critic - first),  # forward, and gradients by weights and by hidden units
        "the critics for the actor": 2 * 2 * critic,  # forward, and gradients by inputs
        "the actor's step": 3 * actor - first_of_actor,
    }
    return {name: 2.0 * count for name, count in counts.items()}


# ---- in the process of a contender ----


def register_game(answers) -> None:
    """A pendulum that waits on standard input for the number of steps of its next turn, and answers with seconds."""
    import gymnasium
    from gymnasium.envs.classic_control.pendulum import PendulumEnv

    class PendulumInTurn(PendulumEnv):
        left, begun, used = 0, 0.0, 0.0

        def step(self, action):
            if self.left == 0:
                if self.begun:
                    times = time.perf_counter() - self.begun, time.process_time() - self.used
                    print(json.dumps(times), file=answers, flush=True)
                line = sys.stdin.readline()
                if not line:
                    os._exit(0)  # the parent has closed the pipe: the contender's own loop would go on for long
                self.left, self.begun, self.used = int(line), time.perf_counter(), time.process_time()
            self.left -= 1
            return super().step(action)

    gymnasium.register(GAME, PendulumInTurn)  # without a limit of steps: an episode does not end


def run_fastnn(path: str) -> None:
    runpy.run_path(str(EXAMPLE))["train"](seed=0, steps=FOREVER, name=GAME)


def run_fastnn_bfloat16(path: str) -> None:
    import fastnn

    fastnn.config.set_dtype_policy("mixed_bfloat16")
    run_fastnn(path)


def run_stable_baselines3(path: str) -> None:
    import gymnasium
    from stable_baselines3 import SAC

    sizes = {"net_arch": [WIDTH, WIDTH]}
    model = SAC("MlpPolicy", gymnasium.make(GAME), batch_size=BATCH, learning_starts=500, policy_kwargs=sizes)
    model.learn(FOREVER)


def run_cleanrl(path: str) -> None:
    if importlib.util.find_spec("cleanrl_utils") is None:  # the script's buffer is a copy of stable-baselines3's
        from stable_baselines3.common import buffers

        sys.modules["cleanrl_utils"] = types.ModuleType("cleanrl_utils")
        sys.modules["cleanrl_utils.buffers"] = buffers
    options = {"env-id": GAME, "batch-size": BATCH, "learning-starts": 500, "total-timesteps": FOREVER}
    sys.argv = [path, *(f"--{name}={value}" for name, value in options.items()), "--no-cuda"]
    runpy.run_path(path, run_name="__main__")


CONTENDERS = {
    "fastnn": run_fastnn,
    "fastnn, mixed_bfloat16": run_fastnn_bfloat16,
    "stable-baselines3": run_stable_baselines3,
    "CleanRL": run_cleanrl,
}
PEERS = ("stable-baselines3", "CleanRL")


# ---- in the parent process ----


class Contender:
    """A process that takes steps when asked."""

    def __init__(self, name: str, threads: int, path: str) -> None:
        counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the contender
        self.folder = tempfile.TemporaryDirectory()  # CleanRL's script writes logs where it runs
        self.name, self.process = name, subprocess.Popen(
            [sys.executable, Path(__file__).resolve(), "--contender", name, "--cleanrl", path],
            env={**os.environ, **dict.fromkeys(counts, str(threads))}, cwd=self.folder.name,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip

    def take(self, steps: int) -> tuple[float, float]:
        """Milliseconds a step, on the wall and of all processors."""
        time.sleep(SETTLE)
        with contextlib.suppress(BrokenPipeError):  # then there is no answer
            print(steps, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            last = (self.log.read().strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"{self.name} ended: {last}")
        wall, processor = json.loads(answer)
        return wall / steps * 1e3, processor / steps * 1e3

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()


def measure(names: list[str], threads: int, rounds: int, steps: int, path: str) -> dict[str, np.ndarray]:
    """Milliseconds a step of each contender, on the wall and of all processors, round by round: (rounds, 2)."""
    contenders: list[Contender] = []
    try:
        for name in names:
            contenders.append(Contender(name, threads, path))
            contenders[-1].take(WARM_UP)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for contender in contenders:
                times[contender.name].append(contender.take(steps))
        return {name: np.array(of) for name, of in times.items()}
    finally:
        for contender in contenders:
            contender.close()


def spread(values: np.ndarray) -> str:
    """The median, and the quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def peak() -> float:
    """The most multiply-adds of float32 that a processor does in a second of its time, as FLOP."""
    kernel, sink = machine.load().fma_float32, np.zeros(16, np.float32)
    rates = []
    for _ in range(7):
        begun = time.process_time()
        rates.append(kernel(6_000_000, sink.ctypes.data) / (time.process_time() - begun))
    return max(rates)


def report(times: dict[str, np.ndarray], threads: int) -> None:
    """Print the figures: medians over rounds, and quartiles."""
    print(f"\nthreads: {threads}")
    peers = [name for name in PEERS if name in times]
    for name, of in times.items():
        wall, processor = of.T
        print(f"{name}: {1e3 / np.median(wall):.0f} steps a second")
        print(f"    milliseconds a step: {spread(wall)}, of all processors {spread(processor)}")
        for peer in peers if name not in PEERS else ():
            faster, less = (times[peer] / of).T
            print(f"    {spread(faster)} times as fast as {peer}; of its processor time 1 / {spread(less)}")
    if peers:
        ratio = np.median(np.min([times[name][:, 0] for name in peers], axis=0) / times["fastnn"][:, 0])
        print(f"fastnn is {ratio:.2f} times as fast as the faster peer", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cleanrl", default="", help="the path of CleanRL's sac_continuous_action.py")
    parser.add_argument("--threads", type=int, nargs="+", default=[machine.cpus()])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50, help="of a turn")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what a contender prints is no answer
        register_game(answers)
        CONTENDERS[given.contender](given.cleanrl)
        return
    path = str(Path(given.cleanrl).resolve()) if given.cleanrl else ""
    missing = [] if importlib.util.find_spec("stable_baselines3") else ["stable-baselines3"]
    names = [name for name in CONTENDERS if name not in missing and (path or name != "CleanRL")]
    for name in (*missing, *([] if path else ["CleanRL (give --cleanrl)"])):
        print(f"{name}: not there")
    work, rate = sum(flops().values()), peak()
    print(f"an update is {work / 1e6:.0f} MFLOP: {work / rate * 1e3:.2f} ms of a processor at its peak in float32")
    for threads in given.threads:
        times = measure(names, threads, given.rounds, given.steps, path)
        report(times, threads)


if __name__ == "__main__":
    main()
