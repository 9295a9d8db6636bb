"""CasADi: a crane moves its load without a swing at the end, by a network that has learnt how the load swings.

The trolley of a crane is accelerated; its load, 2 m below, swings. Where the trolley is follows from simple formulas,
which CasADi keeps as they are. How the angle of the load changes within 100 ms is what a network has learnt of
examples, as it would of records of a crane. casadi_network.c, compiled here, gives the network to CasADi as an external
function with its Jacobian and its Hessian. IPOPT, then an SQP method, plan 4 s of acceleration: 4 m to the right, with
the least effort, the load at rest at the end. No Python runs while they solve. Then the plan is tried on the pendulum's
own equation.

    python examples/embed/casadi_crane.py     # needs CasADi and a C compiler
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import casadi
import numpy as np
from scipy.integrate import solve_ivp

import fastnn
from fastnn import layers

STEP, STEPS = 0.1, 40  # seconds
LENGTH, GRAVITY, STRONGEST = 2.0, 9.81, 1.25  # m, m/s², m/s²
DISTANCE = 4.0  # m


def swing(_, load: np.ndarray, acceleration: float) -> np.ndarray:
    """How angle and rate of the load change: θ'' = -(g sin θ + a cos θ) / l."""
    angle, rate = load
    return np.array([rate, -(GRAVITY * np.sin(angle) + acceleration * np.cos(angle)) / LENGTH])


def after_a_step(load: np.ndarray, acceleration: float) -> np.ndarray:
    """Angle and rate 100 ms later."""
    return solve_ivp(swing, (0, STEP), load, args=(acceleration,), rtol=1e-8, atol=1e-10).y[:, -1]


def learn(examples: int, epochs: int) -> fastnn.predictor.Predictor:
    """A network (angle, rate, acceleration) -> how much angle and rate change in a step."""
    generator = np.random.default_rng(0)
    x = generator.uniform([-0.8, -2, -STRONGEST], [0.8, 2, STRONGEST], (examples, 3))
    y = np.array([after_a_step(row[:2], row[2]) - row[:2] for row in x])
    inputs, outputs = layers.Normalization(input_shape=(3,), dtype="float64"), layers.TargetScaling(clip=False)
    inputs.adapt(x)
    outputs.adapt(y)
    model = fastnn.Sequential([inputs, layers.Dense(32, "tanh"), layers.Dense(32, "tanh"), layers.Dense(2), outputs])
    rate = fastnn.optimizers.schedules.CosineDecay(0.01, epochs * -(-examples // 32))
    model.compile(fastnn.optimizers.Adam(rate), "mse")
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    return model.freeze()


def external(predictor: fastnn.predictor.Predictor, folder: Path) -> casadi.Function:
    """The network as a function of CasADi, compiled from casadi_network.c."""
    predictor.save(folder / "network.fnn")
    source, library = Path(__file__).with_name("casadi_network.c"), folder / "network.so"
    config = [sys.executable, "-m", "fastnn", "config", "--cflags", "--libs"]
    flags = subprocess.run(config, check=True, capture_output=True, text=True).stdout.split()
    named = f'-DNETWORK="{folder / "network.fnn"}"'
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", named, source, *flags, "-o", library], check=True)
    return casadi.external("network", str(library))


def problem(network: casadi.Function) -> tuple[dict, dict]:
    """The plan as a problem for a solver: an acceleration and a state a step, each state the last one's successor."""
    accelerations, states = casadi.MX.sym("a", 1, STEPS), casadi.MX.sym("s", 4, STEPS)  # place, speed, angle, rate
    before = casadi.horzcat(casadi.DM.zeros(4, 1), states[:, :-1])
    place, speed, load = before[0, :], before[1, :], before[2:, :]
    after = casadi.vertcat(
        place + STEP * speed + STEP**2 / 2 * accelerations,
        speed + STEP * accelerations,
        load + network.map(STEPS)(casadi.vertcat(load, accelerations)),
    )
    end = states[:, -1] - casadi.DM([DISTANCE, 0, 0, 0])
    variables = casadi.veccat(accelerations, states)
    asked = {"x": variables, "f": casadi.sumsqr(accelerations), "g": casadi.veccat(states - after, end)}
    limit = np.concatenate([np.full(STEPS, STRONGEST), np.full(4 * STEPS, np.inf)])
    return asked, {"lbx": -limit, "ubx": limit, "lbg": 0, "ubg": 0, "x0": 0}


def try_out(accelerations: np.ndarray) -> np.ndarray:
    """Place, speed, angle and rate at the end, by the pendulum's own equation."""
    place = speed = 0.0
    load = np.zeros(2)
    for acceleration in accelerations:
        load = after_a_step(load, acceleration)
        place, speed = place + STEP * speed + STEP**2 / 2 * acceleration, speed + STEP * acceleration
    return np.array([place, speed, *load])


def main(examples: int = 3000, epochs: int = 300) -> dict:
    """Learn, plan, try; return the figures."""
    fastnn.utils.set_random_seed(0)
    predictor = learn(examples, epochs)
    with tempfile.TemporaryDirectory() as folder:
        network = external(predictor, Path(folder))
        asked, given = problem(network)
        quiet = {"print_time": False, "ipopt.print_level": 0, "ipopt.sb": "yes"}
        ipopt = casadi.nlpsol("plan", "ipopt", asked, quiet)
        plan = ipopt(**given)
        quiet = {"print_time": False, "print_header": False, "print_iteration": False, "print_status": False}
        within = {
            "qpsol": "qrqp",
            "convexify_strategy": "regularize",
            "qpsol_options": {"print_iter": False, "print_header": False, "print_info": False},
        }
        sqp = casadi.nlpsol("plan", "sqpmethod", asked, quiet | within)
        again = sqp(**given)
        figures = {
            "network": network, "predictor": predictor, "effort": float(plan["f"]), "effort by SQP": float(again["f"]),
            "iterations": ipopt.stats()["iter_count"], "iterations of SQP": sqp.stats()["iter_count"],
            "solved": ipopt.stats()["success"] and sqp.stats()["success"],
            "end": try_out(np.array(plan["x"][:STEPS]).ravel()),
        }  # fmt: skip
    place, speed, angle, rate = figures["end"]
    print(f"IPOPT: effort {figures['effort']:.4f} in {figures['iterations']} iterations with exact Hessians")
    print(f"SQP:   effort {figures['effort by SQP']:.4f} in {figures['iterations of SQP']} iterations")
    print(f"tried: the load stops at {place:.3f} m with {speed:.3f} m/s; it hangs at {angle:.4f} rad, {rate:.4f} rad/s")
    return figures


if __name__ == "__main__":
    main()
