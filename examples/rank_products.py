"""Rank a small product list for one query. The first run downloads the model (98 MB)."""

from __future__ import annotations

import adtrie

PRODUCTS = [
    ("p1", "Apple iPhone 6S 32GB"),
    ("p2", "Apple iPhone 8 Plus 64GB"),
    ("p3", "Samsung Galaxy S8 64GB"),
    ("p4", "Bosch KGN39 Stainless Steel"),
    {"id": "p5", "text": "Sony Bravia KD-55XF8505", "bid": 0.8, "colour": "black"},
]


def main() -> None:
    """Prints every product with its score, best first."""
    model = adtrie.load_model("smollm2-135m")
    catalogue = adtrie.Catalogue.build(PRODUCTS, model)
    hits = model.target("sim free iphone 6s 32gb silver unlocked", catalogue, k=len(PRODUCTS))
    for rank, hit in enumerate(hits, start=1):
        print(f"{rank} {hit.score:8.2f} {hit.id} {hit.text}")
    print(f"{hits.forwards} forwards, {hits.rows} rows, {hits.ms:.0f} ms, gap {hits.gap}")


if __name__ == "__main__":
    main()
