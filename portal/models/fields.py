"""Column types the models share: prefixed ids and exact decimals."""

import secrets
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

from portal.core.ids import RANDOM_BYTES, build_id

if TYPE_CHECKING:  # Django's fields are generic for the type checker alone
    _IdBase = models.CharField[str, str]
    _DecimalBase = models.CharField[Any, Any]
else:
    _IdBase = _DecimalBase = models.CharField


def new_id(prefix: str) -> str:
    """Make a fresh id; its time part is wall-clock time, used for sorting only."""
    return build_id(
        prefix, unix_ms=time.time_ns() // 1_000_000, randomness=secrets.token_bytes(RANDOM_BYTES)
    )


class IdField(_IdBase):
    """Primary key `<prefix>_<ulid>`."""

    def __init__(self, *args: Any, prefix: str = "", **kwargs: Any) -> None:
        self.prefix = prefix
        kwargs.setdefault("max_length", 40)
        kwargs.setdefault("primary_key", True)
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "prefix": self.prefix}

    def get_prep_value(self, value: Any) -> Any:
        """Look up a text with NUL as one that no id is; PostgreSQL would refuse the question."""
        prepared = super().get_prep_value(value)
        return prepared.replace("\0", "\ufffd") if isinstance(prepared, str) else prepared

    def get_default(self) -> str:
        return new_id(self.prefix)

    def has_default(self) -> bool:
        return True


class DecimalText(_DecimalBase):
    """An exact decimal stored as text: SQLite's numeric columns keep some 15 digits only."""

    if TYPE_CHECKING:  # what django-stubs lets be set and read
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 40)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: str | None, *_: Any) -> Decimal | None:
        return None if value is None else Decimal(value)

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, Decimal):
            return value
        try:
            return Decimal(str(value))
        except ArithmeticError as error:
            raise ValidationError("Enter a decimal number.", code="invalid_decimal") from error

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else format(Decimal(value), "f")
