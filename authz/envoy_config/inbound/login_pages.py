"""What people and programs read when a login fails or ends: one `Page` for each cause.

Law: fixed text, as on every page (`authz.envoy_config.reply_bodies`), with nothing of the provider's answer.
"""

from typing import Final

from authz.envoy_config.reply_bodies import Page

REFUSED: Final = Page(
    "login_refused",
    "The sign-in was refused",
    "Your identity provider says that you may not sign in here, or the sign-in was cancelled. If you should have"
    " access, ask the people who look after your accounts.",
)
PROVIDER_ERROR: Final = Page(
    "login_provider_error",
    "The identity provider reported an error",
    "The provider ended the sign-in with an error. Try again; if it persists, tell your platform team the time: the"
    " provider's own log says what was wrong.",
)
STALE: Final = Page(
    "login_stale",
    "This sign-in cannot be completed",
    "It took too long, was already used, or began in another browser or under another address. Nothing was changed.",
)
NO_TOKEN: Final = Page(
    "login_failed",
    "The sign-in could not be completed",
    "The identity provider gave no token: it cannot be reached, the sign-in was used already or took too long, or its"
    " settings for this gate are wrong. Try again; if it persists, tell your platform team the time and the request"
    " id.",
)
NOT_READY: Final = Page(
    "login_not_ready",
    "Signing in is not possible right now",
    "The gate is waiting for its secrets. Nothing was forwarded. Try again shortly; if it persists, tell your platform"
    " team.",
)
UNAUTHENTICATED: Final = Page("unauthenticated", "Please sign in", "Authentication is required.", "Sign in")
FOREIGN_COOKIE: Final = Page(
    "invalid_session",
    "Please sign in again",
    "A session cookie that your browser sent is not one that this gate made. The gate did not use it, and deletes it.",
)
FOREIGN: Final = Page(
    "foreign_origin",
    "This request came from another site",
    "A change must be made from the pages of this site itself. Nothing was changed.",
    "To the start page",
)
TOO_LARGE: Final = Page(
    "too_large",
    "Your sign-in is too large",
    "Your token, or what else this site keeps in your browser, does not fit into cookies. Usually the token names too"
    " many groups: ask your platform team to have the provider send fewer. Nothing was forwarded.",
    "To the start page",
)
SIGNED_OUT: Final = Page(
    "signed_out",
    "You are signed out",
    "Your session here has ended. Your identity provider may still know you, and sign you in again without asking.",
)
