"""Of values that many hold alike, one is kept."""

import msgspec

from shared.aio.equals import first_equal
from shared.api import SyncTargetStatus
from shared.model.target import Target

APIS = b'[{"group":"apps","resource":"deployments","kind":"Deployment","versions":["v1"]}]'


def test_of_equal_values_the_first_is_kept():
    one, other = (("a", number) for number in (1, 1))
    assert one is not other
    assert first_equal(one) is first_equal(other)
    assert first_equal(("a", 2)) == ("a", 2)


def test_targets_that_serve_the_same_have_one_list_of_it():
    one, other = (
        msgspec.json.decode(b'{"workspace":"root","name":"%s","apis":%s}' % (name, APIS), type=Target)
        for name in (b"one", b"other")
    )
    assert one.apis is other.apis
    assert msgspec.structs.replace(one, ready=True).apis is one.apis


def test_statuses_of_targets_that_serve_the_same_have_one_list_of_it():
    one, other = (msgspec.json.decode(b'{"apis":%s}' % APIS, type=SyncTargetStatus) for _ in range(2))
    assert one.apis is other.apis
