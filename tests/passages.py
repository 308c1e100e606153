"""Text to ingest: as long as wanted, different wherever it is looked at, the same every time."""

import random

_WORDS = [
    *("anchor", "basin", "current", "drift", "estuary", "fathom", "gull", "harbour", "inlet", "jetty"),
    *("kelp", "lagoon", "mooring", "narrows", "outflow", "pier", "quay", "reef", "shoal", "wharf"),
]


def passages(count, seed=0):
    """`count` paragraphs of about 600 characters, each with a number of its own."""
    generator = random.Random(seed)
    return "\n\n".join(
        f"Passage {seed}-{number}. {' '.join(generator.choices(_WORDS, k=90))}." for number in range(count)
    )
