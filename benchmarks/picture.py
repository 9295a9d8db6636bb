"""The picture of README and of the site: how many times as long as fastnn others take, from the tables of RESULTS.md.

    python benchmarks/picture.py

It measures nothing. A dot is the median that `compare.py` has written; the scale is logarithmic.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

HERE = Path(__file__).parent
ROWS = {  # workload: the words for it
    "T1": "an epoch, 784-128-128-10, batch 32",
    "T2b": "an epoch, 784-128-128-10, batch 1,024",
    "T3": "an epoch, 30-64-64-1, batch 32",
    "T4": "an epoch, 1024-2048-2048-2048-1000",
    "T6": "100 networks 20-32-32-1, an epoch of all",
    "I1": "one row through 784-128-128-10",
    "I2": "one row through 32-64-64-1",
    "I3b": "1,024 rows through 784-128-128-10",
}
PEERS = {  # name in the tables: colour, label
    "keras-tf": ("#d97706", "Keras on TensorFlow"),
    "torch": ("#dc2626", "PyTorch"),
    "sklearn": ("#7c3aed", "scikit-learn"),
    "numpy": ("#64748b", "NumPy"),
    "onnxruntime": ("#0891b2", "ONNX Runtime"),
    "jax": ("#16a34a", "JAX"),
    "jax-scan": ("#84cc16", "JAX, an epoch in one scan"),
}
LEFT, RIGHT, TOP, STEP = 318, 24, 84, 34  # pixels: of the labels, after the scale, above the rows, of a row
WIDTH, MOST = 900, 200
NOTE = "medians of runs in turn, each with the threads that suit it best; logarithmic scale"
FONT = 'font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" font-size="13" fill="#1f2937"'
TICKS = (1, 2, 5, 10, 20, 50, 100, 200)


def measured(text: str) -> dict[str, dict[str, float]]:
    """Return {workload: {peer: how many times as long it takes}}."""
    found = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| ([\w-]+) \| \d+ \|.*?\|.*?\| ([\d.]+) \(", part, re.MULTILINE)
        found[part.partition(":")[0]] = {peer: float(times) for peer, times in rows}
    return found


def place(times: float) -> float:
    """Return where on the scale so many times stand."""
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(times) / math.log(MOST)


def number(times: float) -> str:
    """Return the number as it is said: 2.2, 143."""
    return f"{times:.0f}" if times >= 10 else f"{times:.1f}"


def drawn(results: dict[str, dict[str, float]], machine: str) -> str:
    """Return the picture as SVG."""
    bottom = TOP + STEP * len(ROWS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 76}" role="img" {FONT}>',
        "<title>How many times as long as fastnn others take</title>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{bottom + 75}" rx="10" fill="#ffffff" stroke="#d1d5db"/>',
        '<text x="20" y="32" font-size="17" font-weight="600">How many times as long as fastnn others take</text>',
        f'<text x="20" y="54" fill="#6b7280">{NOTE}</text>',
    ]
    for tick in TICKS:
        x, strong = place(tick), tick == 1
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="{"#111827" if strong else "#e5e7eb"}" '
            f'stroke-width="{2 if strong else 1}"/>'
        )
        label = "fastnn" if strong else f"{tick}×"
        weight = ' font-weight="600"' if strong else ""
        parts.append(f'<text x="{x:.1f}" y="{TOP - 7}" text-anchor="middle" font-size="12"{weight}>{label}</text>')
    for k, (workload, label) in enumerate(ROWS.items()):
        y = TOP + STEP * (k + 0.5)
        times = {peer: value for peer, value in results[workload].items() if peer in PEERS}
        low, high = min(times.values()), max(times.values())
        parts.append(f'<text x="20" y="{y + 4:.1f}">{label}</text>')
        parts.append(
            f'<line x1="{place(low):.1f}" x2="{place(high):.1f}" y1="{y}" y2="{y}" stroke="#d1d5db" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{place(value):.1f}" cy="{y}" r="6" fill="{PEERS[peer][0]}" stroke="#ffffff">'
            f"<title>{PEERS[peer][1]}: {number(value)} times</title></circle>"
            for peer, value in times.items()
        ]
        left, right = place(low) - 10, place(high) + 10
        parts.append(f'<text x="{left:.1f}" y="{y + 4}" text-anchor="end" font-size="12">{number(low)}</text>')
        parts.append(f'<text x="{right:.1f}" y="{y + 4}" font-size="12">{number(high)}</text>')
    x = 20.0
    for colour, label in PEERS.values():
        parts.append(f'<circle cx="{x + 6:.1f}" cy="{bottom + 26}" r="6" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18:.1f}" y="{bottom + 30}" font-size="12">{label}</text>')
        x += 38 + 6.6 * len(label)
    parts.append(f'<text x="20" y="{bottom + 58}" font-size="12" fill="#6b7280">{machine}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Write plots/speed.svg."""
    text = (HERE / "RESULTS.md").read_text()
    what = dict(re.findall(r"^\| (CPUs?|vector instructions) \| (.*?) \|$", text, re.MULTILINE))
    machine = f"{what['CPUs']} cores, {what['CPU'].replace('(R)', '')}: {what['vector instructions']}"
    (HERE / "plots" / "speed.svg").write_text(drawn(measured(text), machine))


if __name__ == "__main__":
    main()
