"""Every kind, one after another."""

import importlib

KINDS = ("activations", "initializers", "layers", "losses", "metrics", "optimizers", "regularizers", "training")

if __name__ == "__main__":
    for kind in KINDS:
        importlib.import_module(f"record_{kind}").main()
