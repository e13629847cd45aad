"""Changes of a cache, merged for who follows them slowly."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from shared.kube.subscription import Change, Subscription


async def drain(subscription: Subscription[str]) -> list[Change[str]]:
    subscription.end()
    changes = []
    while (change := await subscription.next()) is not None:
        changes.append(change)
    return changes


async def test_a_subscription_tells_the_difference_to_what_was_delivered():
    a, b, c, d = (("n", name) for name in "abcd")
    objects = {a: "a1", b: "b1"}
    subscription = Subscription(objects)
    subscription.note_synced()
    objects |= {a: "a2", c: "c1"}
    subscription.note(a, "a1")
    subscription.note(c, None)
    subscription.note(d, None)  # came and went unseen
    del objects[b]
    subscription.note(b, "b1")
    assert await drain(subscription) == [Change("Added", a, "a2"), Change("Synced"), Change("Added", c, "c1")]


async def test_a_subscription_keeps_the_oldest_old():
    key = ("", "a")
    objects = {key: "1"}
    subscription = Subscription(objects)
    assert (await subscription.next()) == Change("Added", key, "1")
    for old, new in (("1", "2"), ("2", "3")):
        objects[key] = new
        subscription.note(key, old)
    assert (await subscription.next()) == Change("Modified", key, "3", "1")
    waiting = asyncio.ensure_future(subscription.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    objects.pop(key)
    subscription.note(key, "3")
    assert await asyncio.wait_for(waiting, 5) == Change("Deleted", key, None, "3")


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "delete", "take"])), max_size=40)


@given(STEPS)
def test_following_the_changes_reproduces_the_cache(steps):
    async def run() -> None:
        objects: dict[tuple[str, str], int] = {}
        copied: dict[tuple[str, str], int] = {}
        subscription = Subscription(objects)

        def follow(change: Change[int] | None) -> None:
            assert change is not None
            assert copied.get(change.key) == change.old
            if change.object is None:
                del copied[change.key]
            else:
                copied[change.key] = change.object

        for number, (name, step) in enumerate(steps):
            key = ("", name)
            old = objects.get(key)
            if step == "put":
                objects[key] = number
                subscription.note(key, old)
            elif step == "delete" and old is not None:
                del objects[key]
                subscription.note(key, old)
            elif step == "take" and objects.keys() - copied.keys():
                follow(await subscription.next())
        for change in await drain(subscription):
            follow(change)
        assert copied == objects

    asyncio.run(run())
