"""ServiceAccounts of target clusters, as far as Secrets hold their tokens: what Kubernetes' token controller does."""

import base64
import secrets

from services.sandbox.access import auth
from services.sandbox.access.auth import Tokens
from services.sandbox.access.users import User
from services.sandbox.errors import Document
from services.sandbox.schemas.checks import ACCOUNT_NAME, OF_ACCOUNT
from services.sandbox.state.clusters import Clusters
from services.sandbox.state.store import Event, Key, Store

_UID = "kubernetes.io/service-account.uid"
ACCOUNTS, SECRETS = "serviceaccounts", "secrets"


class AccountTokens:
    """Fills in the token Secrets of accounts that are there; a token is good as long as its Secret and its account."""

    def __init__(self, store: Store, clusters: Clusters, tokens: Tokens) -> None:
        self._store = store
        self._clusters = clusters
        self._tokens = tokens
        store.effects |= {SECRETS: self._secret, ACCOUNTS: self._account}

    def _secret(self, event: Event) -> None:
        key, document = event.entry.key, event.entry.document()
        if document.get("type") != OF_ACCOUNT or not self._clusters.home(key).is_target:
            return
        token = _token(document)
        if event.type == "DELETED":
            self._tokens.drop(token, key.cluster)
            return
        before = _token(event.previous.document()) if event.previous else ""
        if before and before != token:
            self._tokens.drop(before, key.cluster)
        if not token:
            self._issue(key, document)

    def _issue(self, key: Key, document: Document) -> None:
        annotations = document["metadata"].get("annotations") or {}
        name = annotations.get(ACCOUNT_NAME, "")
        account = self._store.get(key._replace(resource=ACCOUNTS, name=name))
        if account is None:
            return
        token = secrets.token_urlsafe(24)
        document["metadata"]["annotations"] = {**annotations, _UID: account.uid}
        content = {"token": token, "namespace": key.namespace}
        encoded = {field: base64.b64encode(text.encode()).decode() for field, text in content.items()}
        document["data"] = {**(document.get("data") or {}), **encoded}
        groups = (auth.SERVICE_ACCOUNTS, f"{auth.SERVICE_ACCOUNTS}:{key.namespace}")
        user = User(f"{auth.SERVICE_ACCOUNT}{key.namespace}:{name}", groups, account.uid)
        self._tokens.add(token, user, key.cluster)
        self._store.put(key, document)

    def _account(self, event: Event) -> None:
        key = event.entry.key
        if event.type != "DELETED" or not self._clusters.home(key).is_target:
            return
        for entry in self._store.entries(key.cluster, SECRETS, key.namespace):
            document = entry.document()
            named = (document["metadata"].get("annotations") or {}).get(ACCOUNT_NAME)
            if document.get("type") == OF_ACCOUNT and named == key.name:
                self._store.remove(entry.key)


def _token(document: Document) -> str:
    return base64.b64decode((document.get("data") or {}).get("token", "")).decode(errors="replace")
