"""One thing that no comparison of rules shows; `conditions` finds all of them.

Law: data only.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that changes who is a caller, what a request is or what the gate tells Airflow about a caller.

    Or who may ask for a grant, who may approve it, and how long it lasts; or what the file of a team may say.
    """

    text: str
    widens: bool
