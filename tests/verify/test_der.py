# SPDX-License-Identifier: GPL-3.0-or-later
"""DER: what a writer that shares nothing with the reader wrote is read back, and nothing else."""

from datetime import UTC, datetime, timedelta

import der_writer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify import der


@given(st.integers(-(2**200), 2**200))
def test_every_whole_number_is_read_as_it_was_written(number):
    assert der.integer(der.parse(der_writer.integer(number))) == number


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 2**40), max_size=6))
def test_every_object_identifier_is_read_as_it_was_written(first, second, rest):
    dotted = ".".join(map(str, [first, second, *rest]))

    assert der.oid(der.parse(der_writer.oid(dotted))) == dotted


@given(st.binary(max_size=70_000))
def test_every_length_has_one_spelling(content):
    """Reader, writer and the reader's own small encoder agree on lengths of one to three bytes."""
    written = der_writer.octets(content)

    assert der.octets(der.parse(written)) == content
    assert der.encode(der.OCTET_STRING, content) == written


@given(st.sets(st.integers(0, 20)))
def test_named_bits_are_read_as_they_were_written(numbers):
    assert der.named_bits(der.parse(der_writer.named_bits(*numbers))) == numbers


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    """No input makes the reader fail in another way than NotDer."""
    try:
        element = der.parse(data)
        der.children(element)
    except der.NotDer:
        return
    assert element.raw == data


@given(st.datetimes(datetime(1950, 1, 1), datetime(2049, 12, 31)))  # noqa: DTZ001  made aware below
def test_every_time_is_read_as_it_was_written(moment):
    moment = moment.replace(tzinfo=UTC, microsecond=0)

    assert der.time(der.parse(der_writer.utc_time(moment))) == moment
    assert der.time(der.parse(der_writer.general_time(f"{moment:%Y%m%d%H%M%S}Z"))) == moment


def test_a_fraction_of_a_second_is_cut_and_never_rounded_up():
    written = der_writer.general_time("20260101000000.1234569Z")

    assert der.time(der.parse(written)) == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=123456
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="empty"),
        pytest.param("30", id="no length"),
        pytest.param("3003", id="cut off"),
        pytest.param("300302", id="content cut off"),
        pytest.param("3080020101 0000", id="indefinite length"),
        pytest.param("308103020101", id="long form for a short length"),
        pytest.param("30820003020101", id="length with a leading zero"),
        pytest.param("308500000000 03020101", id="length of five bytes"),
        pytest.param("1f2003020101", id="tag of two bytes"),
    ],
)
def test_an_element_has_one_form(data):
    with pytest.raises(der.NotDer):
        der.parse(bytes.fromhex(data))


def test_bytes_after_the_end_have_an_error_of_their_own():
    with pytest.raises(der.TrailingBytes):
        der.parse(der_writer.integer(1) + b"\0")


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        (der.integer, "0200"),
        (der.integer, "02020001"),
        (der.integer, "0202ffff"),
        (der.integer, "040101"),
        (der.boolean, "010101"),
        (der.boolean, "0100"),
        (der.oid, "0600"),
        (der.oid, "06022a80"),
        (der.oid, "06032a8001"),
        (der.oid, "0642" + "2a" + "01" * 65),
        (der.bits, "030107"),
        (der.bits, "03020180"),
        (der.named_bits, "0300"),
        (der.named_bits, "030108"),
        (der.named_bits, "030103"),
        (der.named_bits, "03020700"),
        (der.named_bits, "030206c1"),
        (der.null, "050100"),
        (der.octets, "030100"),
    ],
)
def test_a_value_has_one_spelling(reader, data):
    """Padding, empty values, unused bits that are set, and fields of another kind are refused."""
    with pytest.raises(der.NotDer):
        reader(der.parse(bytes.fromhex(data)))


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (0x17, "2601010000Z"),
        (0x17, "260101000000+0000"),
        (0x17, "260101000000"),
        (0x17, "260230000000Z"),
        (0x17, "260101000060Z"),
        (0x17, ""),
        (0x18, "20260101000000"),
        (0x18, "20260101000000.Z"),
        (0x18, "20260101000000.10Z"),
        (0x18, "20260101000000.1"),
        (0x18, "20260101000000,1Z"),
        (0x18, "2026010100 000Z"),
        (0x18, "00000101000000Z"),
        (0x18, "20260101000000ZZ"),
        (0x0C, "20260101000000Z"),
    ],
)
def test_a_time_is_in_utc_with_seconds_and_in_the_calendar(tag, text):
    with pytest.raises(der.NotDer):
        der.time(der.parse(der_writer.tlv(tag, text.encode())))


def test_a_time_is_ascii():
    with pytest.raises(der.NotDer):
        der.time(der.parse(der_writer.tlv(0x17, "٢٦٠١٠١٠٠٠٠٠٠Z".encode())))


def test_fields_are_taken_in_order_and_all_of_them():
    fields = der.Fields(der_writer.integer(1) + der_writer.NULL + der_writer.TRUE)

    assert der.integer(fields.next(der.INTEGER)) == 1
    assert fields.optional(der.BOOLEAN) is None
    assert fields.optional(der.NULL) is not None
    with pytest.raises(der.TrailingBytes):
        fields.end()
    with pytest.raises(der.NotDer):
        fields.next(der.INTEGER)


def test_the_order_of_a_set_is_told_not_enforced():
    """Authorities embed certificates unsorted; only signed attributes must be in order."""
    one, two = der_writer.integer(1), der_writer.integer(2)

    assert der.in_order(der.children(der.parse(der_writer.tlv(0x31, one, two))))
    assert not der.in_order(der.children(der.parse(der_writer.tlv(0x31, two, one))))
