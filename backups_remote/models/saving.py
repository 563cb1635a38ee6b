"""What ``save()`` may write to a row that exists, and where an instance reads what it lacks.

``save()`` writes what belongs to the host project. An instance that was read a while ago has old
values in all of its columns. Writing all of them would undo whatever happened to the row since: a
report, a restore, a new token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from django.db import models

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.db.models.base import ModelBase

_Row = TypeVar("_Row", bound="GuardedModel")


class GuardedQuerySet(models.QuerySet["_Row"]):
    """Rows of a guarded model."""

    def update_or_create(
        self, defaults: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> tuple[_Row, bool]:
        """Like Django's, without guarded columns among the ``defaults``.

        Raises:
            ValueError: ``defaults`` names a guarded column.

        """
        self.model.refuse_guarded(defaults or ())
        return super().update_or_create(defaults, *args, **kwargs)


class WrittenManager(models.Manager["_Row"]):
    """Rows from the database that they are written to, whichever one a router reads from.

    As the base manager, it loads deferred columns, what a foreign key points to, and rows that are
    refreshed. A replica may not have them yet, or not as they are.
    """

    def get_queryset(self) -> models.QuerySet[_Row]:
        """All rows; of a database that is named, if one is."""
        rows = super().get_queryset()
        # As for a queryset that is about to write, its copies included.
        # safeguard: instances-read-where-written
        rows._for_write = True  # type: ignore[attr-defined]  # noqa: SLF001
        return rows


class GuardedModel(models.Model):
    """A model with columns that only this app's functions change once the row exists."""

    #: Such a column → what changes it.
    GUARDED: ClassVar[Mapping[str, str]] = {}

    written: ClassVar[models.Manager[Self]] = WrittenManager()

    class Meta:
        abstract = True
        base_manager_name = "written"

    def save(
        self,
        *,
        force_insert: bool | tuple[ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Insert a new row whole; of one that exists, write the columns that are not guarded.

        Raises:
            ValueError: ``update_fields`` names a guarded column.

        """
        if self._state.adding:
            # With a key of its own Django would first try an UPDATE, of every column. This is an
            # INSERT into the tables of all parents, too.
            # safeguard: new-row-inserted
            super().save(force_insert=force_insert or (models.Model,), using=using)
            return
        super().save(
            force_update=force_update, using=using, update_fields=self.fields_to_save(update_fields)
        )

    def fields_to_save(self, named: Iterable[str] | None) -> list[str]:
        """The columns that ``save()`` writes for these ``update_fields``.

        Raises:
            ValueError: a guarded column is named.

        """
        if named is None:
            return self.writable_fields()
        names = {*named}
        # update_or_create() names every column that is set on saving, such as ``updated_at``.
        dated = {
            field.name
            for field in self._meta.local_concrete_fields
            if type(field).pre_save is not models.Field.pre_save and not field.primary_key
        }
        if dated <= names:
            names -= dated & self.GUARDED.keys()
        self.refuse_guarded(names)
        return [*names]

    def writable_fields(self) -> list[str]:
        """The columns that ``save()`` writes if it is not told which: loaded, and not guarded."""
        left_out = self.get_deferred_fields()
        return [
            field.name
            for field in self._meta.concrete_fields
            if not field.primary_key
            and field.name not in self.GUARDED  # safeguard: guarded-not-saved
            and field.attname not in left_out
        ]

    @classmethod
    def refuse_guarded(cls, names: Iterable[str]) -> None:
        """Raise ValueError for the first guarded column among ``names``."""
        columns = {field.attname: field.name for field in cls._meta.concrete_fields}
        for name in (columns.get(name, name) for name in names):
            if name in cls.GUARDED:  # safeguard: guarded-field-refused
                raise ValueError(
                    f"{name}: save() does not change it once the row exists; "
                    f"{cls.GUARDED[name]} does."
                )
