"""What is told on a subject is heard in order by whoever listens there, and by nobody afterwards."""

from tests.support.waiting import until


async def test_what_is_told_is_heard_in_order_and_only_below_the_subject(lab):
    told, heard = await lab.bus(), []
    listening = await (await lab.bus()).listen(lab.subject("x", "*"), heard.append, lambda: None)
    await told.tell(lab.subject("y", "a"), b"other")
    for number in range(100):
        await told.tell(lab.subject("x", "a" if number % 2 else "b"), b"%d" % number)
    await until(lambda: len(heard) == 100, "all is heard")
    assert [each.payload for each in heard] == [b"%d" % number for number in range(100)]
    assert {each.subject for each in heard} == {lab.subject("x", "a"), lab.subject("x", "b")}
    await listening.stop()
    await told.tell(lab.subject("x", "a"), b"late")
    later = []
    await (await lab.bus()).listen(lab.subject("z"), later.append, lambda: None)
    await told.tell(lab.subject("z"), b"last")
    await until(lambda: later, "what came after it is heard elsewhere")
    assert len(heard) == 100
