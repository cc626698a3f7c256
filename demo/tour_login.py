"""The rows about browsers: who is sent to log in, what the cookies allow, and that a sign-out ends them."""

from collections.abc import Iterator

from demo.files import Layout
from demo.tour_client import Answer
from demo.tour_rows import Row
from demo.tour_visitor import Visitor

ME = "/ui/auth/me"
LIST = "/api/v2/dags"
LOGOUT = "/api/v2/auth/logout"
SALES_DAGS = {"sales_daily", "sales_orders", "sales_cleanup"}


def login_rows(layout: Layout) -> Iterator[Row]:
    """The rows, in order: each relies on what earlier ones did."""
    gate = layout.browse
    ann, sam, thief = (Visitor(login=login, issuer=layout.issuer) for login in ("ann", "sam", "ann"))

    def sign_out() -> Answer:
        thief.cookies = {port: dict(cookies) for port, cookies in ann.cookies.items()}
        return ann.navigate(gate + LOGOUT)

    def goes_to_the_provider(answer: Answer) -> str:
        wanted = f"{layout.issuer}/authorize?"
        return "" if answer.location.startswith(wanted) else f"it leads to {answer.location.partition('?')[0]}"

    yield Row("a browser", "open /dags", "302", lambda: ann.navigate(f"{gate}/dags"), goes_to_the_provider)
    yield Row("a script of a page", f"GET {ME}", "401 no_token", lambda: ann.fetch(gate + ME))
    yield Row("ann (viewer)", "log in and open /dags", "200 rule airflow.viewer", lambda: ann.open(f"{gate}/dags"))
    yield Row("ann (viewer)", "who am I, by cookies", "200 rule airflow.viewer", lambda: ann.fetch(gate + ME), _is_ann)
    yield Row("sam (sales team)", "log in and open /dags", "200 rule team-ui", lambda: sam.open(f"{gate}/dags"))
    yield Row("sam (sales team)", "list DAGs", "200 rule sales-team", lambda: sam.fetch(gate + LIST), _only_sales)
    yield Row("ann (viewer)", "log out", "302 signed_out", sign_out)
    yield Row("a holder of ann's saved cookies", "list DAGs", "401 revoked", lambda: thief.fetch(gate + LIST))


def _is_ann(answer: Answer) -> str:
    return "" if answer.json()["username"] == "ann" else "Airflow saw another user"


def _only_sales(answer: Answer) -> str:
    found = {dag["dag_id"] for dag in answer.json()["dags"]}
    return "" if found == SALES_DAGS else f"the list has {sorted(found)}"
