import pytest
from hypothesis import given
from hypothesis import strategies as st
from pgvector import HalfVector

from holdfast.ai import encode_halfvec


@given(st.lists(st.floats(-65504, 65504, width=16), min_size=1, max_size=64))
def test_pgvector_reads_what_was_encoded(values):
    assert HalfVector.from_binary(encode_halfvec(values)).to_list() == values


def test_a_halfvec_takes_four_bytes_and_two_for_each_dimension():
    assert len(encode_halfvec([0.5] * 1536)) == 4 + 2 * 1536


def test_a_number_beyond_half_precision_is_not_stored_silently():
    with pytest.raises(OverflowError):
        encode_halfvec([70_000.0])
