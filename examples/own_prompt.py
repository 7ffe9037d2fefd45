"""The same engine for another job: job titles to occupations, with a prompt of one's own."""

from __future__ import annotations

import adtrie

OCCUPATIONS = ["Software developer", "Nurse", "Truck driver", "Primary school teacher", "Accountant", "Chef"]
TEMPLATE = adtrie.PromptTemplate.from_text(
    "Job advertisement: java engineer (m/f/d) backend\nOccupation: Software developer\n"
    "Job advertisement: bilingual receptionist front desk\nOccupation: Receptionist\n"
    "Job advertisement: {query}\nOccupation:"
)
QUERIES = ("hgv class 1 drivers wanted, nights", "sous chef for a busy kitchen", "RN intensive care unit")


def main() -> None:
    """Prints the best two occupations of each advertisement, with renormalised scores."""
    model = adtrie.load_model("smollm2-135m")
    catalogue = adtrie.Catalogue.build(OCCUPATIONS, model)
    for query in QUERIES:
        hits = model.target(query, catalogue, k=2, score="renormalised", template=TEMPLATE)
        print(f"{query:40} -> " + ", ".join(f"{hit.text} ({hit.score:.2f})" for hit in hits))


if __name__ == "__main__":
    main()
