"""The files that the settings name: which keys name one, what for, and where they are.

Law: a key's type says what its file is for (`Annotated[str, File(…)]`), where the key is described, so there is no
list that could omit it. Paths are relative to the settings file.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args

from pydantic import AfterValidator, BaseModel

from authz.core.documents.wording import Mistake

Loc = tuple[str | int, ...]


class Use(Enum):
    """What a file is for."""

    READ = auto()
    CERTIFICATE = auto()
    AUTHORITY = auto()
    SECRET = auto()
    WRITTEN = auto()
    FOLLOWED = auto()
    FOLDER = auto()


@dataclass(frozen=True, slots=True)
class File:
    """The mark of a key that names a file; `but` is a value that is not a file."""

    use: Use
    but: str = ""


class Named(NamedTuple):
    """One file: the key that names it, what it is for, and its path."""

    loc: Loc
    use: Use
    path: str

    @property
    def key(self) -> str:
        """The key as people write it: `envoy.inbound.upstreams[0].tls_ca`."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.loc).removeprefix(".")


def _some(path: str) -> str:
    """Refuse an empty name: it would mean that nothing is verified, or that there is no secret."""
    if not path:
        raise Mistake("this needs the name of a file", "write its path, or leave the key out where that is possible")
    return path


ReadFile = Annotated[str, File(Use.READ)]
Authority = Annotated[str, File(Use.AUTHORITY), AfterValidator(_some)]
Certificate = Annotated[str, File(Use.CERTIFICATE), AfterValidator(_some)]
SecretFile = Annotated[str, File(Use.SECRET), AfterValidator(_some)]
FollowedFile = Annotated[str, File(Use.FOLLOWED), AfterValidator(_some)]
WrittenFile = Annotated[str, File(Use.WRITTEN)]
Folder = Annotated[str, File(Use.FOLDER)]

_AnySection = TypeVar("_AnySection", bound=BaseModel)


def named(section: BaseModel) -> Iterator[Named]:
    """Every file that the section names, in the order of its keys."""
    for name, mark in _marks(type(section)).items():
        value = getattr(section, name)
        for loc, one in _each(name, value):
            if isinstance(one, BaseModel):
                yield from (found._replace(loc=(*loc, *found.loc)) for found in named(one))
            elif mark is not None and isinstance(one, str) and one not in {"", mark.but}:
                yield Named(loc, mark.use, one)


def absolute(section: _AnySection, folder: Path) -> _AnySection:
    """The section with every path made absolute."""
    return rewritten(section, lambda path: str(folder / path))


def rewritten(section: _AnySection, change: Callable[[str], str]) -> _AnySection:
    """The section with another text for every path."""

    def of(mark: File | None, value: object) -> object:
        if isinstance(value, BaseModel):
            return rewritten(value, change)
        if isinstance(value, tuple):
            return tuple(of(mark, item) for item in value)
        names_one = mark is not None and isinstance(value, str) and value not in {"", mark.but}
        return change(str(value)) if names_one else value

    marks = _marks(type(section))
    return section.model_copy(update={name: of(mark, getattr(section, name)) for name, mark in marks.items()})


def _each(name: str, value: object) -> Iterator[tuple[Loc, object]]:
    if isinstance(value, tuple):
        yield from (((name, position), item) for position, item in enumerate(value))
    else:
        yield (name,), value


@cache
def _marks(model: type[BaseModel]) -> Mapping[str, File | None]:
    """The mark of each key, if it has one."""
    return {name: _mark((*field.metadata, field.annotation)) for name, field in model.model_fields.items()}


def _mark(parts: tuple[Any, ...]) -> File | None:
    """The mark among the parts of a type, however deep: `tuple[Certificate, ...] | None` has one."""
    for part in parts:
        found = part if isinstance(part, File) else _mark((*getattr(part, "__metadata__", ()), *get_args(part)))
        if found is not None:
            return found
    return None
