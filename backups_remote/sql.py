"""The statements of the hot path, without compiling them anew at every call.

Django's ORM takes several times as long to compile a look-up or an UPDATE of a backup as the
database takes to run it. What they say is still written once, as querysets and Q objects beside
the models; here the SQL that comes of them is kept for each database.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from django.core.exceptions import FullResultSet
from django.db import connections, router
from django.db.models.sql import Query

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Field, Model, Q, QuerySet

M = TypeVar("M", bound="Model")


class Guard:
    """A fixed condition that a row must meet. Make one a module, not one a call."""

    def __init__(self, condition: Q) -> None:
        self.condition = condition


def update_if(
    instance: Model, guard: Guard, *, same: dict[str, Any], changes: dict[str, Any]
) -> bool:
    """One UPDATE of ``instance``'s row if it meets ``guard`` and its ``same`` fields are these.

    False if no such row is there: nothing was changed then.
    """
    model = type(instance)
    alias = router.db_for_write(model, instance=instance)
    connection = connections[alias]
    guard_sql, guard_params = _compiled(model, guard, alias)
    columns = _quoted_columns(model, alias)
    sql = (
        f"UPDATE {columns['']} SET {', '.join(f'{columns[name]} = %s' for name in changes)} "  # noqa: S608 - names of the model's own
        f"WHERE {columns['pk']} = %s AND {guard_sql}"
        f"{''.join(f' AND {columns[name]} ' + _equals(value) for name, value in same.items())}"
    )

    def prepared(fields: dict[str, Any]) -> list[Any]:
        return [
            model._meta.get_field(name).get_db_prep_save(value, connection)  # type: ignore[union-attr]  # noqa: SLF001
            for name, value in fields.items()
        ]

    known = {name: value for name, value in same.items() if value is not None}
    params = [*prepared(changes), instance.pk, *guard_params, *prepared(known)]
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return bool(cursor.rowcount)


def _equals(value: object) -> str:
    return "IS NULL" if value is None else "= %s"


class Lookup(Generic[M]):
    """A look-up of one row, compiled once a database; only the values change.

    It asks the database that is written to: a replica may not have yet what a daemon is told.

    ``build`` makes its queryset from any values of the right types. It must filter by ``fields``
    in their order, and by nothing else that has a value.
    """

    def __init__(
        self, model: type[M], build: Callable[..., QuerySet[M]], fields: tuple[str, ...]
    ) -> None:
        self._model = model
        self._build = build
        self._fields = [cast("Field[Any, Any]", model._meta.get_field(name)) for name in fields]  # noqa: SLF001
        self._kept: dict[str, _Statement] = {}

    def first(self, *values: Any) -> M | None:
        """The row whose fields have these values, or None."""
        alias = router.db_for_write(self._model)
        connection = connections[alias]
        if alias not in self._kept:
            self._kept[alias] = _statement(self._build(*values), alias)
        kept = self._kept[alias]
        params = [
            field.get_db_prep_value(value, connection)
            for field, value in zip(self._fields, values, strict=True)
        ]
        with connection.cursor() as cursor:
            cursor.execute(kept.sql, params)
            row = cursor.fetchone()
        if row is None:
            return None
        read = list(row)
        for position, (converters, expression) in kept.converters.items():
            for convert in converters:
                read[position] = convert(read[position], expression, connection)
        found = self._model.from_db(alias, kept.columns, read[: len(kept.columns)])
        for name, value in zip(kept.annotations, read[len(kept.columns) :], strict=True):
            setattr(found, name, value)
        return found


class _Statement(NamedTuple):
    sql: str
    converters: dict[int, tuple[list[Callable[..., Any]], Any]]
    #: Names of the model's columns, then of the annotations, in the order of the row.
    columns: list[str]
    annotations: list[str]


def _statement(rows: QuerySet[Any], alias: str) -> _Statement:
    """What Django's own way through a queryset works out anew at every call."""
    compiler = rows.order_by().query.get_compiler(alias)
    sql = compiler.as_sql()[0]
    selected = [expression for expression, _, _ in compiler.select]
    names = compiler.annotation_col_map
    columns = [expression.target.attname for expression in selected[: len(selected) - len(names)]]
    return _Statement(sql, compiler.get_converters(selected), columns, list(names))


@functools.lru_cache(maxsize=64)
def _compiled(model: type[Model], guard: Guard, alias: str) -> tuple[str, tuple[Any, ...]]:
    query = Query(model, alias_cols=False)
    where = query.build_where(guard.condition)
    try:
        sql, params = where.as_sql(query.get_compiler(using=alias), connections[alias])
    except FullResultSet:
        return "1 = 1", ()
    return f"({sql})", tuple(params)


@functools.lru_cache(maxsize=16)
def _quoted_columns(model: type[Model], alias: str) -> dict[str, str]:
    """Field name → quoted column; "pk" and, for the table itself, ""."""
    quote = connections[alias].ops.quote_name
    names = {field.name: field.column or "" for field in model._meta.concrete_fields}  # noqa: SLF001
    names |= {"pk": names["id"], "": model._meta.db_table}  # noqa: SLF001
    return {name: quote(column) for name, column in names.items()}
