"""What an OpenID provider says about itself, and its answers to forms (OpenID Connect Discovery 1.0, RFC 8414).

Law 1: its metadata are accepted only if their `issuer` is the one that was asked for, to the letter (RFC 8414 §3.3).
Law 2: requests go through the guarded client: the address is checked, one deadline covers all, the answer is bounded.
Law 3: an error has the provider's error code at most: a description may repeat what was sent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from authz.core.errors import AuthzError, FetchError
from authz.core.jose.primitives import read_object
from authz.core.loopback import names_loopback
from authz.fetching.download import Answer, Downloader, Reach, check, default_tls, read_url
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits

_LIMITS: Final = Limits(timeout_s=15.0)
_FORM: Final = "application/x-www-form-urlencoded"
_OK: Final = 200
_ERROR: Final = re.compile(r"[!#-\[\]-~]{1,60}")  # RFC 6749 §5.2, without spaces


class LoginError(AuthzError):
    """A login did not succeed; the text says why, and what to do."""


class RefusedError(LoginError):
    """The provider refuses a request; `code` is its error code (RFC 6749 §5.2, RFC 8628 §3.5)."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the provider refuses: {code}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What the provider says about itself; an endpoint that it does not have is "".

    `names_itself`: it names itself in each authorization response (RFC 9207 §3).
    """

    issuer: str
    authorization: str
    token: str
    device: str
    revocation: str
    jwks_uri: str
    names_itself: bool


class Provider:
    """One provider.

    Args:
        issuer: its issuer identifier, an https URL; http only on this machine.

    Raises:
        LoginError: that is no such URL.
    """

    def __init__(self, issuer: str) -> None:
        try:
            url = read_url(issuer)
            self._reach = Reach(insecure_http=False, loopback=names_loopback(url.host))
            check(url, self._reach)
        except FetchError as error:
            raise LoginError(f"the issuer: {error.detail}") from None
        self.issuer = issuer
        self._downloader = Downloader(limits=_LIMITS, tls=default_tls(), resolver=system_resolver)

    def metadata(self) -> Metadata:
        """Ask for its metadata.

        Raises:
            LoginError: there are none that may be used.
        """
        url = self.issuer.removesuffix("/") + "/.well-known/openid-configuration"
        try:
            document = self._downloader.get(read_url(url), reach=self._reach, deadline=Deadline(_LIMITS.timeout_s))
        except FetchError as error:
            raise LoginError(error.detail) from None
        found = _object(document.data, url)
        if found.get("issuer") != self.issuer:
            raise LoginError(f"{url}: its `issuer` is not {self.issuer}")
        return Metadata(
            issuer=self.issuer,
            authorization=_text(found, "authorization_endpoint"),
            token=_text(found, "token_endpoint"),
            device=_text(found, "device_authorization_endpoint"),
            revocation=_text(found, "revocation_endpoint"),
            jwks_uri=_text(found, "jwks_uri"),
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )

    def checked(self, endpoint: str, what: str) -> str:
        """An endpoint that people's browsers or we may be sent to.

        Raises:
            LoginError: the provider has none, or it is no https URL.
        """
        if not endpoint:
            raise LoginError(f"{self.issuer} has no {what}")
        try:
            check(read_url(endpoint), self._reach)
        except FetchError as error:
            raise LoginError(f"the {what}: {error.detail}") from None
        return endpoint

    def post(self, endpoint: str, form: Mapping[str, str], what: str, *, reads: bool = True) -> dict[str, Any]:
        """The JSON object that an endpoint answers to a form with 200; {} without `reads`, whatever it answers.

        Raises:
            RefusedError: it answers with an error code.
            LoginError: there is no answer, or not such a one.
        """
        url = self.checked(endpoint, what)
        try:
            answer = self._downloader.post(
                read_url(url),
                urlencode(form).encode("ascii"),
                media_type=_FORM,
                reach=self._reach,
                deadline=Deadline(_LIMITS.timeout_s),
            )
        except FetchError as error:
            raise LoginError(error.detail) from None
        if answer.status != _OK:
            raise _refused(answer, what)
        return _object(answer.data, f"the {what}") if reads else {}


def _refused(answer: Answer, what: str) -> LoginError:
    try:
        code = _object(answer.data, "").get("error")
    except LoginError:
        code = None
    if isinstance(code, str) and _ERROR.fullmatch(code):
        return RefusedError(code)
    return LoginError(f"the {what} answers with status {answer.status}")


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        return read_object(data)
    except ValueError:
        raise LoginError(f"{where}: the answer is not a JSON object") from None


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name, "")
    return value if isinstance(value, str) else ""
