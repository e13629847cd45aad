"""Acting as somebody else by Impersonate headers, as `kubectl --as` does."""

from collections.abc import Mapping
from urllib.parse import unquote

from services.sandbox.access.auth import SERVICE_ACCOUNT, Attributes
from services.sandbox.access.users import ADMINS, AUTHENTICATED, KCP_ADMINS, SCOPES, User
from services.sandbox.state.clusters import Cluster

PREFIX = "impersonate-"
_EXTRA = f"{PREFIX}extra-"
_AUTHENTICATION = "authentication.k8s.io"


def asked(headers: Mapping[str, str]) -> User | None:
    """Who the headers (of several values, joined by comma) ask to act as; none where they do not."""
    name = headers.get(f"{PREFIX}user", "")
    if not name:
        return None
    groups = tuple(each.strip() for each in headers.get(f"{PREFIX}group", "").split(",") if each.strip())
    extra = sorted(
        (unquote(key.removeprefix(_EXTRA)), tuple(each.strip() for each in value.split(",")))
        for key, value in headers.items()
        if key.startswith(_EXTRA)
    )
    return User(name, groups, headers.get(f"{PREFIX}uid", ""), tuple(extra))


def needed(user: User) -> list[Attributes]:
    """All that whoever acts as this user must be allowed to."""
    if user.name.startswith(SERVICE_ACCOUNT):
        namespace, _, account = user.name.removeprefix(SERVICE_ACCOUNT).partition(":")
        wanted = [Attributes("impersonate", "", "serviceaccounts", namespace, account)]
    else:
        wanted = [Attributes("impersonate", "", "users", name=user.name)]
    wanted += (Attributes("impersonate", "", "groups", name=group) for group in user.groups)
    wanted += [Attributes("impersonate", _AUTHENTICATION, "uids", name=user.uid)] if user.uid else []
    wanted += (
        Attributes("impersonate", _AUTHENTICATION, f"userextras/{key}", name=value)
        for key, values in user.extra
        for value in values
    )
    return wanted


def forbidden(impersonator: User, user: User, cluster: Cluster) -> str:
    """The group that only an administrator of all workspaces may act as a member of; empty where there is none."""
    if cluster.is_target or ADMINS in impersonator.groups:
        return ""
    return next((group for group in user.groups if group in (ADMINS, KCP_ADMINS)), "")


def confined(impersonator: User, user: User, cluster: Cluster) -> User:
    """The user as others see them. In kcp they are so in this workspace only, unless an administrator of all acts."""
    groups = user.groups if AUTHENTICATED in user.groups else (*user.groups, AUTHENTICATED)
    extra = dict(user.extra)
    if not cluster.is_target and ADMINS not in impersonator.groups:
        inherited = dict(impersonator.extra).get(SCOPES, ())
        extra[SCOPES] = (*extra.get(SCOPES, ()), *inherited, f"cluster:{cluster.id}")
    return user._replace(groups=groups, extra=tuple(sorted(extra.items())))
