"""The page of the development provider where people say who they are, with one click.

Law: no script, nothing from elsewhere, everything escaped; the page says what it is.
"""

from collections.abc import Iterable

from markupsafe import escape

from demo.idp_store import Person

BANNER = "DEVELOPMENT ONLY: this provider signs in anyone as anyone."
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:10vh auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem;margin:0}p{color:#666;margin:.3rem 0 1.2rem}
button{display:flex;justify-content:space-between;width:100%;font:inherit;margin:.4rem 0;padding:.7rem 1rem;
border:1px solid #ccc;border-radius:.5rem;background:#f7f9fc;color:inherit;cursor:pointer}
button:hover,button:focus-visible{border-color:#017cee;background:#eaf3fd}small{color:#666}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}p,small{color:#999}
button{background:#222;border-color:#444}button:hover,button:focus-visible{background:#123}}
"""


def sign_in_page(people: Iterable[Person], query: str) -> str:
    """The page; `query` is that of the authorization request, which continues with the chosen person."""
    buttons = "".join(_button(person) for person in people)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>Who are you?</h1><p>{BANNER}</p>"
        f'<form method="post" action="/authorize?{escape(query)}">{buttons}</form></html>'
    )


def _button(person: Person) -> str:
    groups = escape(", ".join(person.groups) or "no groups")
    return f'<button name="login" value="{escape(person.login)}">{escape(person.name)} <small>{groups}</small></button>'
