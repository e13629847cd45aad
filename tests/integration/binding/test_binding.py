"""Binding against a real API server over HTTP (the sandbox): applied, changed, taken back."""

from typing import Any


async def test_applies_and_removes(scene: Any, binder: Any) -> None:
    await scene.workload()
    ref = await scene.place()
    head = await scene.decide(ref, "east")
    bound = await scene.insist(binder, scene.assigned(ref, head))
    print(bound)
    print(await scene.binding(ref))
    print(await scene.in_target())
    head = await scene.decide(ref)
    bound = await scene.insist(binder, scene.assigned(ref, head, remove=True))
    print(bound)
    assert await scene.binding(ref) is None
    assert await scene.managed() == set()
