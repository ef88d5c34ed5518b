"""Changes, checks and limits by their permanent kind, so that the engine knows no subject."""

import contextlib
import importlib
import pkgutil
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError

import tasks
from tasks.guardrails.errors import BadInput

_KINDS: dict[tuple[str, int], type["Registered"]] = {}


class Registered(BaseModel):
    """A frozen model that is written as `{"kind": ..., "schema_version": ..., fields}`.

    A pydantic field typed with a base class serialises a subclass as the base (`{}`), so
    these go to JSON and back by the kind under which the class registered itself. The
    module is written along, so that a process that has not imported it yet can read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str] = ""
    schema_version: ClassVar[int] = 1

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:  # noqa: ANN401 - pydantic's signature
        """Register a subclass that names its kind; a kind names one class for ever."""
        if not cls.kind:
            return
        taken = _KINDS.setdefault((cls.kind, cls.schema_version), cls)
        if taken.__qualname__ != cls.__qualname__ or taken.__module__ != cls.__module__:
            message = f"kind {cls.kind!r} version {cls.schema_version} is {taken!r} already"
            raise TypeError(message)

    def to_json(self) -> dict[str, Any]:
        """Give the model with its kind.

        Returns:
            What `from_json` reads again.
        """
        return {
            "kind": self.kind,
            "schema_version": self.schema_version,
            "module": type(self).__module__,
            **self.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, given: object) -> Self:
        """Read what `to_json` wrote, or pass on an instance.

        Args:
            given: An instance, or the mapping.

        Returns:
            An instance of the class registered under the kind.

        Raises:
            BadInput: The kind is unknown or the fields do not fit it.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, dict) or "kind" not in given:
            raise BadInput(
                expected=f"a {cls.__name__.lower()} with its kind.",
                found=f"{given!r}.",
                todo="Look at the entry with `remedy ledger show`.",
            )
        fields = dict(given)
        key = (fields.pop("kind"), fields.pop("schema_version", 1))
        module = fields.pop("module", "")
        if key not in _KINDS and module.startswith("tasks."):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(module)
        if key not in _KINDS and module.startswith("tasks."):
            _import_all()
        model = _KINDS.get(key)
        if model is None or not issubclass(model, cls):
            raise BadInput(
                expected=f"a known kind of {cls.__name__.lower()}.",
                found=f"{key[0]!r} in version {key[1]}.",
                todo="Use the version of remedy that wrote it, or a newer one.",
            )
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise BadInput(
                expected=f"the fields of {key[0]!r} in version {key[1]}.",
                found="; ".join(
                    f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
                )
                + ".",
                todo="Use the version of remedy that wrote it, or a newer one.",
            ) from error


def _import_all() -> None:
    """Import every task: a class may have moved since its kind was written, which is permanent."""
    for found in pkgutil.walk_packages(tasks.__path__, "tasks."):
        if "ledger_migrations" not in found.name:  # scripts, which Alembic alone may run
            importlib.import_module(found.name)


T = TypeVar("T", bound=Registered)


def _write(model: Registered) -> dict[str, Any]:
    return model.to_json()


ByKind = Annotated[T, PlainSerializer(_write)]


def reader(base: type[T]) -> PlainValidator:
    """Make the validator of a field that holds any registered subclass of `base`.

    Args:
        base: Change, Check or Limit.

    Returns:
        A validator that reads by kind.
    """
    return PlainValidator(base.from_json)


def kinds() -> dict[str, type[Registered]]:
    """Give every kind registered so far, in its newest version.

    Returns:
        The classes by kind.
    """
    return {kind: model for (kind, _), model in sorted(_KINDS.items())}
