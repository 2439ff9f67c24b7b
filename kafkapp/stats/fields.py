"""Fields of librdkafka's statistics: typed, named as in the JSON, read when they are asked for. Knows no statistics."""
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")
K = TypeVar("K")
P = TypeVar("P", bound="Part")


class Part:
    """An object of the statistics. Its fields are attributes; `part["name"]` reads one that has no attribute."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    @property
    def json(self) -> dict[str, Any]:
        """All fields by their names, as librdkafka wrote them: those of a newer librdkafka as well."""
        return self._fields

    def __getitem__(self, name: str) -> Any:
        return self.json[name]

    def __contains__(self, name: object) -> bool:
        return name in self.json

    def __iter__(self) -> Iterator[str]:
        return iter(self.json)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.json!r})"


class Field(Generic[T]):
    """A field as an attribute of its Part.

    One that this librdkafka does not write is an AttributeError, so that `hasattr` and `getattr` with a default work.
    """

    def __init__(self, text: str) -> None:
        self.__doc__ = text
        self.name = ""

    def __set_name__(self, owner: type[Part], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, part: None, owner: type[Part]) -> Self: ...
    @overload
    def __get__(self, part: Part, owner: type[Part] | None = None) -> T: ...

    def __get__(self, part: Part | None, owner: type[Part] | None = None) -> Self | T:
        if part is None:
            return self
        try:
            return self.read(part.json)
        except KeyError:
            raise AttributeError(f"these statistics have no {self.name!r}: this librdkafka does not write it",
                                 name=self.name, obj=part) from None

    def read(self, fields: dict[str, Any]) -> T:
        value: T = fields[self.name]
        return value


class Object(Field[P]):
    """A field that is another Part."""

    def __init__(self, part: type[P], text: str) -> None:
        super().__init__(text)
        self.part = part

    def read(self, fields: dict[str, Any]) -> P:
        return self.part(fields[self.name])


class Optional(Field[P | None]):
    """A field that is another Part, or None: librdkafka writes it for some clients only."""

    def __init__(self, part: type[P], text: str) -> None:
        super().__init__(text)
        self.part = part

    def read(self, fields: dict[str, Any]) -> P | None:
        return self.part(fields[self.name]) if self.name in fields else None


class Table(Field[Mapping[K, P]]):
    """A field that is a Mapping of Parts, whose keys are texts or numbers."""

    def __init__(self, key: Callable[[str], K], part: type[P], text: str) -> None:
        super().__init__(text)
        self.key, self.part = key, part

    def read(self, fields: dict[str, Any]) -> Mapping[K, P]:
        return Parts(fields[self.name], self.key, self.part)


class Parts(Mapping[K, P]):
    """A Mapping that makes each Part when it is asked for."""

    __slots__ = ("_fields", "_key", "_part")

    def __init__(self, fields: dict[str, Any], key: Callable[[str], K], part: type[P]) -> None:
        self._fields, self._key, self._part = fields, key, part

    def __getitem__(self, key: K) -> P:
        return self._part(self._fields[str(key)])

    def __iter__(self) -> Iterator[K]:
        return map(self._key, self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._fields!r})"
