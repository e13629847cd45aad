"""The log of refusals."""

import logging

import pytest

from shared.process import audit


def test_a_refusal_is_one_log_line_with_what_is_known_and_is_counted(caplog):
    before = audit.refusals["AddressNotAllowed"]
    with caplog.at_level(logging.WARNING, "moorage.audit"):
        audit.refused("AddressNotAllowed", target="root:a/east", address="127.0.0.1", port=6443)
    [record] = caplog.records
    assert (record.name, record.reason, record.target) == ("moorage.audit", "AddressNotAllowed", "root:a/east")
    assert (record.address, record.port) == ("127.0.0.1", "6443")
    assert not hasattr(record, "requester")
    assert audit.refusals["AddressNotAllowed"] == before + 1


def test_what_a_stranger_chose_makes_no_log_line_of_its_own(caplog):
    audit.refused("AddressNotAllowed", requester="eve\nWARN moorage.audit refused reason=\x1b[2J" + "x" * 10_000)
    [record] = caplog.records
    assert record.requester.isprintable()
    assert len(record.requester) == audit.MOST


def test_counts_are_kept_for_known_reasons_only():
    with pytest.raises(ValueError, match="no reason"):
        audit.refused("Whatever")
    assert set(audit.refusals) <= audit.REASONS
