"""What workloads ask for together, and how many of their replicas fit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.demand import Demand
from shared.model.resources import fits, with_tolerance
from tests.unit.scheduler.builders import deployment

amounts = st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0])
workloads = st.lists(
    st.builds(deployment, replicas=st.sampled_from([None, 0, 1, 2, 3, 7, 20]), cpu=amounts, memory=amounts), min_size=1
)


@given(workloads, st.lists(st.tuples(*[st.sampled_from([0.0, 0.3, 1.0, 2.5, 9.0, 100.0])] * 3), min_size=1))
def test_room_is_for_the_most_replicas_that_fit(workload, rooms) -> None:
    demand = Demand(tuple(workload), divided=True)
    names = ("cpu", "memory", "pods")
    columns = zip(names, zip(*rooms, strict=True), strict=True)
    spare = {name: with_tolerance(np.array(column)) for name, column in columns}
    found = demand.capacity(spare, len(rooms))
    for room, has in zip(found.tolist(), rooms, strict=True):
        there = dict(zip(names, has, strict=True))
        fitting = [count for count in range(200) if fits(demand.of(count), there)]
        assert min(room, 199) == max(fitting, default=0), "also beyond the replicas that are asked for"
