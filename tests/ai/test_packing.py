import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.ai import BadInput, Limits
from holdfast.ai.packing import measure, pack
from holdfast.errors import ConfigurationError


@given(st.lists(st.integers(1, 50)), st.integers(1, 10), st.integers(50, 120))
def test_packing_loses_nothing_and_keeps_both_limits(sizes, inputs, tokens):
    spans = list(pack(sizes, Limits(inputs=inputs, tokens=tokens, text_bytes=50)))
    assert [position for span in spans for position in range(span.start, span.stop)] == list(
        range(len(sizes))
    )
    assert all(1 <= len(span) <= inputs for span in spans)
    assert all(sum(sizes[span.start : span.stop]) <= tokens for span in spans)


def test_size_is_counted_in_bytes_so_that_no_language_is_underestimated():
    assert measure(["kelp", "海藻"], Limits()) == [4, 6]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "blank"), (" \t\n", "blank"), ("\ud800", "Unicode"), ("x" * 101, "101 bytes, more than 100")],
)
def test_a_text_no_provider_takes_is_named(text, reason):
    with pytest.raises(BadInput, match=reason) as caught:
        measure(["fine", text], Limits(text_bytes=100))
    assert caught.value.position == 1
    assert not caught.value.retryable


@pytest.mark.parametrize("limits", [{"inputs": 0}, {"inputs": 2049}, {"tokens": 10}, {"text_bytes": 0}])
def test_limits_that_cannot_work_are_refused(limits):
    with pytest.raises(ConfigurationError):
        Limits(**limits)
