import asyncio
import math
import os
import subprocess
import sys

import pytest

from holdfast.ai import BadInput, Embedder, HashingEmbedder
from holdfast.ai.hashing import hash_vector

TEXT = "A holdfast anchors kelp to rock."


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_formula_behind_the_models_name_has_not_changed():
    filled = [(slot, round(value, 3)) for slot, value in enumerate(hash_vector("kelp and kelp")) if value]
    assert filled == [(44, 0.447), (142, 0.447), (290, -0.632), (302, 0.447)]


def test_another_process_makes_the_same_vector():
    program = f"from holdfast.ai.hashing import hash_vector; print(hash_vector({TEXT!r}))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(hash_vector(TEXT))


@pytest.mark.parametrize("text", [TEXT, "x", "---", "海藻", "\x00", "word " * 10_000])
def test_every_text_has_a_vector_of_unit_length(text):
    vector = hash_vector(text)
    assert len(vector) == 384
    assert math.hypot(*vector) == pytest.approx(1.0)


def test_shared_words_are_near_and_synonyms_are_not():
    car = hash_vector("The red car stopped")
    assert cosine(car, hash_vector("a red CAR")) > 0.3
    assert abs(cosine(car, hash_vector("some automobile"))) < 0.2


def test_word_order_counts():
    assert cosine(hash_vector("dog bites man"), hash_vector("man bites dog")) < 0.9


def test_it_is_an_embedder_that_says_it_is_lexical():
    embedder: Embedder = HashingEmbedder()
    assert not embedder.is_semantic
    batches = list(embedder.embed([TEXT] * 130))
    assert [(batch.start, batch.stop, batch.prompt_tokens) for batch in batches] == [
        (0, 128, 0),
        (128, 130, 0),
    ]


def test_a_query_has_the_vector_of_its_text():
    assert asyncio.run(HashingEmbedder().embed_query(TEXT)) == hash_vector(TEXT)


def test_a_blank_text_is_refused_as_a_provider_would():
    with pytest.raises(BadInput):
        HashingEmbedder().embed(["fine", ""])
