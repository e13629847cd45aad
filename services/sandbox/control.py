"""The sandbox's own API under `/sandbox`, for administrators of the hub: clusters, and faults on demand."""

from typing import TYPE_CHECKING

import msgspec

from services.sandbox import errors, targets
from services.sandbox.auth import ADMINS, User
from services.sandbox.clusters import TARGET_PREFIX
from services.sandbox.http import Request, Response, answer, parse_object

if TYPE_CHECKING:
    from services.sandbox.sandbox import Sandbox


def route(sandbox: "Sandbox", user: User, request: Request, parts: list[str]) -> Response:
    """`GET /sandbox`; `POST /sandbox/clusters/<name>` with the fields of `targets.Target`, and below it
    `/availability` with `{"available": bool}`. Raises ApiError."""
    if ADMINS not in user.groups:
        raise errors.forbidden(f'forbidden: User "{user.name}" is no administrator of this sandbox')
    match request.method, parts:
        case "GET", []:
            url = f"{sandbox.url}/clusters"
            clusters = [
                {"name": c.name, "url": f"{url}/{c.name}", "target": c.is_target, "available": c.available}
                for c in sandbox.clusters
            ]
            state = {"revision": str(sandbox.store.revision), "watches": sandbox.store.watches}
            return answer({"url": sandbox.url, **state, "clusters": clusters})
        case "POST", ["clusters", name]:
            body = parse_object(request) if request.body else {}
            try:
                token = targets.add(sandbox, msgspec.convert({**body, "name": name}, targets.Target))
            except ValueError as error:  # of msgspec, or a quantity
                raise errors.bad_request(str(error)) from error
            full = f"{TARGET_PREFIX}{name}"
            return answer({"name": full, "url": f"{sandbox.url}/clusters/{full}", "token": token}, 201)
        case "POST", ["clusters", name, "availability"]:
            available = parse_object(request).get("available")
            if not isinstance(available, bool):
                raise errors.bad_request("available must be true or false")
            sandbox.set_available(name, available)
            return answer({"name": name, "available": available})
    raise errors.no_such_path()
