"""The policies of one workspace as they are published: each with the exemptions from it, and its parameters."""

import asyncio
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import msgspec

from services.controller.core.granting import in_force
from services.controller.granting import Granting
from services.controller.params import Key, ParamWatch, key_of
from services.controller.projections import policy_of
from shared.api import PlacementPolicySpec, PolicyException, decode_policyexception
from shared.hub.access import Access
from shared.hub.export import follow
from shared.hub.resources import EXCEPTIONS, POLICIES
from shared.kube.apis import RestMapper
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.model.policy import PolicyEntry


class PolicyWatch:
    """Follows the PlacementPolicies of a workspace, the PolicyExceptions there (nobody else's count), and the objects
    there that they take parameters from.

    `changed` hears of each policy, by name, that is to be published otherwise.
    """

    def __init__(
        self,
        path: str,
        client: Client,
        mapper: RestMapper,
        access: Access,
        changed: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._changed = changed
        self._params = ParamWatch(path, client, mapper, access, self._says_otherwise)
        self._clock = clock
        self._policies = follow(client, POLICIES, decode=functools.partial(policy_of, path))
        self._exceptions = follow(client, EXCEPTIONS, decode=decode_policyexception, on_error=self._refused)
        self._granting = Granting(client, self._by_name, self._spec, clock)
        self._granted: defaultdict[str, dict[str, PolicyException]] = defaultdict(dict)  # by policy, and their own name
        self._granted_known = asyncio.Event()
        self._whole: dict[str, PolicyEntry] = {}  # those that have exemptions or parameters, together with these
        self.known = asyncio.Event()
        """Set once all that there was at first is told."""

    @property
    def read(self) -> bool:
        """True if all has been read once, or policies are not served here at all."""
        error = self._policies.error
        return self._params.read and (self.known.is_set() or (isinstance(error, ApiError) and error.not_found))

    async def run(self) -> None:
        """Follow until cancelled."""
        async with self._policies, self._exceptions, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._params.run())
            tasks.create_task(self._granting.run())
            tasks.create_task(self._follow_exceptions())
            tasks.create_task(self._follow_policies())

    async def _follow_policies(self) -> None:
        await self._granted_known.wait()  # nobody is to be without an exemption since it is not read yet
        async for change in self._policies.events():
            if change.kind == "Synced":
                self.known.set()
                for policy in list(self._granted):
                    self._granting.look(policy)
                continue
            if any(each is not None and each.takes is not None for each in (change.old, change.object)):
                self._params.want(filter(None, (each.takes for each in self._policies.objects.values())))
            self._tell(change.key[1])

    async def _follow_exceptions(self) -> None:
        async for change in self._exceptions.events():
            if change.kind == "Synced":
                self._granted_known.set()
                continue
            for before in filter(None, (change.old,)):
                self._granted[before.spec.policy].pop(change.key[1], None)
            if change.object is not None:
                self._granted[change.object.spec.policy][change.key[1]] = change.object
            same = change.old is not None and change.object is not None and change.old.spec == change.object.spec
            for each in filter(None, (change.old, change.object)):
                (self._granting.look if same else self._tell)(each.spec.policy)

    def _refused(self, error: KubeError) -> None:
        """A hub that does not serve the kind (yet) has no exceptions."""
        if isinstance(error, ApiError) and error.not_found:
            self._granted_known.set()

    def _says_otherwise(self, key: Key) -> None:
        for (_, name), policy in self._policies.objects.items():
            if policy.takes is not None and key_of(policy.takes) == key:
                self._tell(name)

    def _tell(self, name: str) -> None:
        self._whole.pop(name, None)
        self._changed(name)
        if self.known.is_set():
            self._granting.look(name)

    def _by_name(self) -> dict[str, PolicyException]:
        return {name: each for (_, name), each in self._exceptions.objects.items()}

    def _spec(self, name: str) -> PlacementPolicySpec | None:
        policy = self._policies.objects.get(("", name))
        return None if policy is None else policy.entry.spec

    def all(self) -> Iterator[PolicyEntry]:
        """All policies."""
        return filter(None, map(self.get, self.names()))

    def names(self) -> Iterable[str]:
        """The names of all policies."""
        return [name for _, name in self._policies.objects]

    def get(self, name: str) -> PolicyEntry | None:
        """A policy with the exemptions that have not expired, and its parameters; None where there is none, and while
        what its parameters are is not known."""
        policy = self._policies.objects.get(("", name))
        granted = self._granted.get(name)
        if policy is None:
            return None
        if not granted and policy.takes is None:
            return policy.entry
        whole = self._whole.get(name)
        if whole is None:
            params = self._params.get(policy.takes) if policy.takes is not None else None
            if policy.takes is not None and params is None:
                return None
            exemptions = in_force((granted or {}).values(), self._clock())
            whole = self._whole[name] = msgspec.structs.replace(policy.entry, exemptions=exemptions, params=params)
        return whole

    def expire(self) -> None:
        """Have those policies told from which an exemption has ended."""
        now = self._clock()
        for name, whole in list(self._whole.items()):
            if any(each.expires <= now for each in whole.exemptions):
                self._tell(name)
