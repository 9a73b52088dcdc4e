"""What payloads of a type must look like: a marshmallow schema, a pydantic model or a dataclass, seen as one.

Neither library is imported here: whoever declares a schema has imported its own.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

from taskhub.handlers.schemas.payload_schema import PayloadSchema

__all__ = ["PayloadSchema", "schema_of"]


def schema_of(declared: Any) -> PayloadSchema | None:
    """Whatever a handler declares. Raises TypeError for what is none of the three, and what its making raises."""
    if declared is None or isinstance(declared, PayloadSchema):
        return declared
    is_class: bool = inspect.isclass(declared)
    if is_class and dataclasses.is_dataclass(declared):
        from taskhub.handlers.schemas.of_dataclass import DataclassSchema

        return DataclassSchema(declared)
    if is_class and issubclass(declared, _base("pydantic", "BaseModel")):
        from taskhub.handlers.schemas.of_pydantic import PydanticSchema

        return PydanticSchema(declared)
    marshmallow = _base("marshmallow", "Schema")
    if isinstance(declared, marshmallow) or (is_class and issubclass(declared, marshmallow)):
        from taskhub.handlers.schemas.of_marshmallow import MarshmallowSchema

        return MarshmallowSchema(declared() if is_class else declared)
    raise TypeError("is not a marshmallow schema, a pydantic model or a dataclass")


class _NobodysError(Exception):
    """No class that a user declares is one."""


def _base(library: str, name: str) -> Any:
    """A library's class; nobody's if nobody has imported the library, and so has nothing of it."""
    return getattr(sys.modules.get(library), name, _NobodysError)
