"""Programs on several ranks, started by mpirun as a user would start them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = Path(__import__("fastnn").__file__).parents[1]  # which ranks import, as this process does
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def start(ranks, program, *arguments, **variables):
    """Start a program of this folder, of any other, or a module by ``-m``, on so many ranks."""
    path = program if program == "-m" else HERE / program
    version = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, check=True).stdout
    options = ["--oversubscribe", "--allow-run-as-root"] if "Open MPI" in version else []
    search = os.pathsep.join([str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [MPIRUN, *options, "-n", str(ranks), sys.executable, str(path), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ
        | {"PYTHONPATH": search, "PATH": f"{Path(MPIRUN).parent}{os.pathsep}{os.environ['PATH']}"}
        | variables,
    )


def run(ranks, program, *arguments, seconds=120, **variables):
    """Return the exit code and both outputs of a program, which must come to an end."""
    process = start(ranks, program, *arguments, **variables)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{program} {arguments} has not ended: {process.communicate()}") from None
    return process.returncode, out, err


def results(out):
    """Return what the ranks have printed as results, in the order of the ranks."""
    found = [json.loads(line.split("RESULT ", 1)[1]) for line in out.splitlines() if "RESULT " in line]
    return sorted(found, key=lambda one: one["rank"])
