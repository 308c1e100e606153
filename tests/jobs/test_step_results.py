"""Results as PostgreSQL keeps them."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from holdfast.jobs.steps.results import result_type, stored_form
from holdfast.jobs.storable import storable_json

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values)
def test_stored_form_is_what_jsonb_gives_back(session, value):
    form = stored_form(storable_json(value))
    kept = session.execute(text("SELECT CAST(CAST(:form AS jsonb) AS text)"), {"form": form}).scalar_one()
    assert repr(json.loads(kept)) == repr(json.loads(form))


def test_type_of_a_function_is_read_once():
    def count() -> int: ...

    assert result_type(count) is result_type(count)


@pytest.mark.parametrize("value", [float("nan"), "a\x00b", "\ud800"])
def test_value_that_jsonb_cannot_keep_is_refused(value):
    def untyped(): ...

    with pytest.raises(Exception, match="cannot be stored"):
        result_type(untyped).dump(value)
