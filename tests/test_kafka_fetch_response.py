"""Answers to fetches, read at once, say what aiokafka reads field by field."""

from io import BytesIO

from aiokafka.protocol.fetch import FetchResponse_v11
from aiokafka.protocol.struct import Struct
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.fetch_response import decoded

int16, int32, int64 = (st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64))
partitions = st.tuples(
    int32,
    st.sampled_from((0, 0, 0, 1, 6)),
    int64,
    int64,
    int64,
    st.none() | st.lists(st.tuples(int64, int64), max_size=3),
    int32,
    st.none() | st.binary(max_size=70),
)
topics = st.lists(st.tuples(st.text(min_size=1, max_size=20), st.lists(partitions, max_size=4)), max_size=3)
answers = st.builds(FetchResponse_v11, int32, int16, int32, topics)


def by_aiokafka(data: bytes) -> FetchResponse_v11:
    return Struct.decode.__func__(FetchResponse_v11, data)  # type: ignore[attr-defined]


@given(answers)
def test_what_says_something_is_read_as_aiokafka_does(answer: FetchResponse_v11) -> None:
    """A record, an aborted transaction or an error that is lost here is lost for good."""
    data = answer.encode()
    expected = by_aiokafka(data)
    said = [(topic, [row for row in rows if row[1] or row[-1]]) for topic, rows in expected.topics]
    for found in (decoded(data), decoded(BytesIO(data))):
        assert type(found) is FetchResponse_v11
        assert (found.throttle_time_ms, found.error_code, found.session_id) == (
            expected.throttle_time_ms,
            expected.error_code,
            expected.session_id,
        )
        assert found.topics == said


def test_an_answer_is_read_from_where_its_header_ends() -> None:
    """aiokafka reads the header first and hands on what is left."""
    rows = [(3, 0, 9, 8, 0, [(7, 5)], -1, b"records"), (4, 0, 2, 2, 0, None, -1, b"")]
    stream = BytesIO(b"head" + FetchResponse_v11(0, 0, 11, [("journal", rows)]).encode())
    stream.read(4)
    assert decoded(stream).topics == [("journal", rows[:1])]
