"""Write a catalogue snapshot, open it again, and compare the three searches on it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import adtrie

COLOURS = ("black", "silver", "gold", "red")
MODELS = ("Nokia 3", "Nokia 5", "Nokia 6.1", "Honor 8", "Honor 9 Lite")


def main() -> None:
    """Prints what each search finds, and what it cost."""
    model = adtrie.load_model("smollm2-135m")
    names = [f"{name} {colour}" for name in MODELS for colour in COLOURS]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phones.cat"
        adtrie.Catalogue.build(names, model).save(path)
        catalogue = adtrie.Catalogue.open(path)
    model.warm()
    for mode in ("stepwise", "verify", "exact"):
        hits = model.target("honor 9lite handy rot dual sim", catalogue, k=3, mode=mode)
        found = ", ".join(f"{hit.text} ({hit.score:.2f})" for hit in hits)
        print(f"{mode:9} {hits.forwards:3} forwards {hits.rows:4} rows  gap {hits.gap:5.2f}  {found}")


if __name__ == "__main__":
    main()
