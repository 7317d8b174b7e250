"""JSON objects whose members are taken by name and type; what is wrong with them is said by where it stands."""

import math
from pathlib import PurePosixPath
from typing import Any, TypeVar

T = TypeVar("T")


class ContentError(Exception):
    """What is wrong with the content of a file; the reader knows its path."""


class Object:
    """An object of the file, and where in it it stands."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise ContentError(f"needs {where or 'its top'} as an object, found {type(content).__name__}")
        self.content, self._where = content, where

    def get(self, key: str) -> Any:
        """A member that is only for information."""
        return self.content.get(key)

    def take(self, key: str, type_: type[T]) -> T:
        """A member of a type."""
        value = self.content.get(key)
        if not isinstance(value, type_) or isinstance(value, bool):
            found = type(value).__name__ if key in self.content else "nothing"
            raise ContentError(f"needs {self._name(key)} as {type_.__name__}, found {found}; download the bundle again")
        return value

    def number(self, key: str) -> float:
        """A number from 0 on."""
        value = self.content.get(key)
        number = float(value) if isinstance(value, int | float) and abs(value) < 1e9 else math.nan
        if not number >= 0:
            raise ContentError(f"needs {self._name(key)} as a number from 0 on, found {value!r}")
        return number

    def path(self, key: str) -> str:
        """A POSIX path that does not leave the bundle."""
        path = self.take(key, str)
        parts = PurePosixPath(path)
        if not path.isprintable() or "\\" in path or parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise ContentError(f"has {self._name(key)} {path!a}, expected a path within the folder")
        return path

    def object(self, key: str) -> "Object":
        """A member that is an object."""
        return Object(self.content.get(key), self._name(key))

    def objects(self, key: str) -> "list[Object]":
        """A member that is a list of objects."""
        return [Object(value, f"{self._name(key)}[{place}]") for place, value in enumerate(self.take(key, list))]

    def named(self, key: str) -> "list[tuple[str, Object]]":
        """The members of an object that are objects themselves, by names that are words."""
        entry = self.object(key)
        strange = next((name for name in entry.content if not name.isidentifier()), None)
        if strange is not None:
            raise ContentError(f"has the name {strange!a} in {self._name(key)}, expected a word")
        return [(name, Object(value, entry._name(name))) for name, value in entry.content.items()]

    def _name(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key
