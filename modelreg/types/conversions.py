"""One name for two things, as KServe has it: ``from_grpc`` of a request and of a response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")


class _Arrived(Protocol):
    """What came from somewhere."""

    _from_grpc: bool


class FromGRPC(Generic[T]):
    """On the class, the function that makes an object of a message; on an object, whether it came over gRPC.

    Args:
        read: The function.
    """

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read = read
        self.__doc__ = read.__doc__

    @overload
    def __get__(self, instance: None, owner: object) -> Callable[[Any], T]: ...

    @overload
    def __get__(self, instance: _Arrived, owner: object) -> bool: ...

    def __get__(self, instance: _Arrived | None, owner: object) -> Callable[[Any], T] | bool:
        return self._read if instance is None else instance._from_grpc  # noqa: SLF001 - the field that it stands for

    def __set__(self, instance: _Arrived, value: bool) -> None:
        instance._from_grpc = value  # noqa: SLF001 - as above
