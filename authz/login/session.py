"""A person's login over its life: kept, renewed, ended.

Law: one process at a time; what was renewed is kept before it is used.
"""

import time
from dataclasses import replace
from typing import Final

from authz.login.provider import LoginError, Provider, RefusedError
from authz.login.store import Login, Store
from authz.login.tokens import Tokens, read_answer

_RENEW_S: Final = 60
"""A token that ends within so many seconds is renewed: a request takes time, and clocks differ."""
_USABLE_S: Final = 5


def access_token(store: Store) -> str:
    """The access token, renewed if it is near its end.

    Raises:
        LoginError: there is none; the text says what to do.
    """
    with store.alone():
        login = store.read()
        if login is None:
            raise LoginError("not logged in: run `authz login`")
        left = login.tokens.ends - time.time() if login.tokens.ends else _RENEW_S + 1
        if left > _RENEW_S or (not login.tokens.refresh and left > _USABLE_S):
            return login.tokens.access
        if not login.tokens.refresh:
            raise LoginError("the token has expired, and there is none to renew it with: run `authz login`")
        renewed = replace(login, tokens=_renewed(login))
        store.write(renewed)
        return renewed.tokens.access


def _renewed(login: Login) -> Tokens:
    """New tokens for the refresh token (RFC 6749 §6), for the same person (OpenID Connect Core §12.2)."""
    client, old = login.client, login.tokens
    provider = Provider(client.issuer)
    metadata = provider.metadata()
    form = client.token_request("refresh_token", refresh_token=old.refresh)
    try:
        answer = provider.post(metadata.token, form, "token endpoint")
    except RefusedError as error:
        raise LoginError(f"the login cannot be renewed ({error.code}): run `authz login`") from None
    new = read_answer(answer, metadata, client, now=time.time())
    if old.subject and new.subject and new.subject != old.subject:
        raise LoginError("the renewed token is another person's: nothing was kept. Run `authz login`")
    return replace(
        new,
        refresh=new.refresh or old.refresh,
        subject=new.subject or old.subject,
        person=new.person or old.person,
    )


def end(store: Store) -> str:
    """Forget the login, and have the provider revoke it (RFC 7009); returns why it did not, "" if it did.

    Raises:
        LoginError: there is none, or one may be left in the keyring.
    """
    left = ""
    with store.alone():
        try:
            login = store.read()
        finally:
            left = store.remove()
    if login is None:
        raise LoginError(left or "not logged in")
    not_revoked = _revoke(login)
    if left:
        raise LoginError("; ".join(filter(None, [left, not_revoked])))
    return not_revoked


def _revoke(login: Login) -> str:
    token, hint = login.tokens.refresh, "refresh_token"
    if not token:
        token, hint = login.tokens.access, "access_token"
    form = {"token": token, "token_type_hint": hint, "client_id": login.client.client_id}
    try:
        provider = Provider(login.client.issuer)
        provider.post(provider.metadata().revocation, form, "revocation endpoint", reads=False)
    except LoginError as error:
        return str(error)
    return ""
