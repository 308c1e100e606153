import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.documents.reading import ChunkSize, Part, split

SMALL = ChunkSize(minimum=20, target=60, maximum=80)
TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("ab  \n\n#-*`|>")), max_size=400
)
PARTS = st.lists(
    st.builds(
        Part,
        text=TEXTS,
        page=st.one_of(st.none(), st.integers(1, 3)),
        section=st.one_of(st.none(), st.sampled_from(["A", "A > B"])),
    ),
    max_size=8,
)


def _visible(texts):
    return "".join("".join(texts).split())


@settings(max_examples=300, deadline=None)
@given(PARTS)
def test_splitting_loses_nothing_and_keeps_order_and_sizes(parts):
    chunks = list(split(parts, SMALL))
    assert _visible(chunk.text for chunk in chunks) == _visible(part.text for part in parts)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert all(0 < len(chunk.text) <= 80 and chunk.text == chunk.text.strip() for chunk in chunks)
    assert list(split(parts, SMALL)) == chunks


@settings(deadline=None)
@given(PARTS)
def test_start_is_where_the_chunk_begins(parts):
    text = "".join(part.text for part in parts)
    for chunk in split(parts, SMALL):
        assert text[chunk.start] == chunk.text[0]


@settings(deadline=None)
@given(PARTS)
def test_a_chunk_stays_on_its_page(parts):
    parts = [Part(f"{part.page} {part.text}", part.page, part.section) for part in parts]
    for page, chunks in itertools.groupby(split(parts, SMALL), key=lambda chunk: chunk.page):
        assert page in {part.page for part in parts}
        assert all(chunk.page == page for chunk in chunks)


def test_tiny_sections_join_what_follows_on_the_same_page():
    parts = [Part("# A", section="A"), Part("## B\ntext", section="A > B"), Part("x" * 500, section="C")]
    chunks = list(split(parts, ChunkSize()))
    assert [(chunk.section, chunk.text[:3]) for chunk in chunks] == [("A", "# A")]
    assert [chunk.page for chunk in split([Part("one", 1), Part("two", 2)])] == [1, 2]


def test_a_filled_section_does_not_swallow_the_next():
    parts = [Part("a" * 500, section="A"), Part("b" * 500, section="B")]
    assert [chunk.section for chunk in split(parts)] == ["A", "B"]


def test_splitting_is_lazy():
    def endless():
        for number in itertools.count(1):
            yield Part(f"page {number} " * 100, page=number)

    assert [chunk.page for chunk in itertools.islice(split(endless()), 3)] == [1, 2, 3]


@pytest.mark.parametrize("text", ["x" * 2_000_000, "0123456789abcdef" * 125_000, "漢字かな。" * 100_000])
def test_text_without_spaces_is_split_in_bounded_time(text):
    started = time.monotonic()
    chunks = list(split([Part(text)]))
    assert time.monotonic() - started < 10
    assert "".join(chunk.text for chunk in chunks) == text
    assert max(len(chunk.text) for chunk in chunks) <= 1_600


@pytest.mark.parametrize("sizes", [(0, 0, 0), (10, 5, 20), (0, 20, 10), (0, 10, 8_001)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="chunk sizes need"):
        ChunkSize(*sizes)
