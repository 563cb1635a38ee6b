"""The SQL of the hot path, compiled once.

Django's ORM needs several times as long to compile a look-up or an UPDATE of a backup as the
database needs to run it. The conditions are still written once, as querysets and Q objects beside
the models; this module keeps the SQL that they compile to, for each database.
"""

from __future__ import annotations

import datetime as dt
import functools
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

from django.conf import settings
from django.core.exceptions import FullResultSet
from django.db import connections, router, transaction
from django.db.models import CharField, DateTimeField, TextField
from django.db.models.sql import Query

from backups_remote.database import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field, Model, Q, QuerySet

M = TypeVar("M", bound="Model")

_KINDS: Final[dict[type, tuple[type, ...]]] = {
    str: (CharField, TextField),
    dt.datetime: (DateTimeField,),
}


class Guard:
    """A fixed condition on a row. Create it once per module, not per call."""

    def __init__(self, condition: Q) -> None:
        self.condition = condition


def update_if(
    instance: Model, guard: Guard, *, same: dict[str, Any], changes: dict[str, Any]
) -> bool:
    """UPDATE the row of ``instance`` if it meets ``guard`` and its fields equal ``same``.

    A model that the host project derives has an additional table: the row to change is the one in
    the table that has the fields. Django's own UPDATE would look it up first, and then change it
    even if it no longer meets ``guard``.

    Returns whether the row was changed.
    """
    alias = router.db_for_write(type(instance), instance=instance)
    # safeguard: derived-rows-guarded
    model = defining_model(type(instance), next(iter(changes)))
    guard_sql, guard_params = _compiled(model, guard, alias)
    equal = tuple((name, value is None) for name, value in same.items())
    sql = _guarded_update(model, tuple(changes), equal, guard_sql, alias)
    known = {name: value for name, value in same.items() if value is not None}
    connection = connections[alias]
    params = [
        *_prepared(model, changes, connection),
        instance.pk,
        *guard_params,
        *_prepared(model, known, connection),
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return bool(cursor.rowcount)


def defining_model(model: type[Model], field: str) -> type[Model]:
    """The model whose table has ``field``: ``model``, or one that it is derived from."""
    return model._meta.get_field(field).model  # noqa: SLF001


def keys_of(rows: QuerySet[Any]) -> array[int]:
    """The primary keys of ``rows``, in their order, eight bytes each.

    They are read in a transaction: a server-side cursor needs its session, and a pooler may give
    each transaction another one.
    """

    def read() -> array[int]:
        with transaction.atomic(using=rows.db):
            return array("q", rows.values_list("pk", flat=True).iterator())

    return retrying(rows.db, read)


def read_in_batches(keys: array[int], rows: QuerySet[M], size: int) -> Iterator[list[M]]:
    """Those of ``rows`` that have these keys, ``size`` at a time, each batch ordered by key.

    A batch is read when its turn comes: a row that ``rows`` matches no more by then is left out.
    No cursor stays open in between, while the store is asked.
    """
    for start in range(0, len(keys), size):
        batch = rows.filter(pk__in=keys[start : start + size]).order_by("pk")
        yield retrying(rows.db, partial(list, batch))  # safeguard: batch-reconnects


def insert(model: type[Model], alias: str, values: dict[str, Any]) -> None:
    """INSERT a row with these fields, which must be all but the key. The key is not read back."""
    sql = _insertion(model, tuple(values), alias)
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(sql, _prepared(model, values, connection))


def _prepared(
    model: type[Model], values: dict[str, Any], connection: BaseDatabaseWrapper
) -> list[Any]:
    """What each field hands to the database for its value.

    Texts and NULL are the same on every database, and a time zone leaves nothing to convert: these
    are most of the values, and asking the field takes longer than all the rest of the statement.
    """
    fields = _fields(model)
    adapt_time = connection.ops.adapt_datetimefield_value
    prepared = []
    for name, value in values.items():
        field, kind = fields[name]
        if value is None or (kind is str and type(value) is str):
            prepared.append(value)
        elif kind is dt.datetime and isinstance(value, dt.datetime) and value.tzinfo:
            prepared.append(adapt_time(value))
        else:
            prepared.append(field.get_db_prep_save(value, connection))
    return prepared


class Lookup(Generic[M]):
    """A query for one row, compiled once per database; only the values change.

    It reads the database for writes: a replica may not have the newest rows yet.

    ``build`` returns the queryset for any values of the right types. It must filter by ``fields``
    in their order, and by nothing else that has a value. Its order counts if it is sliced.
    """

    def __init__(
        self, model: type[M], build: Callable[..., QuerySet[M]], fields: tuple[str, ...]
    ) -> None:
        self._model = model
        self._build = build
        self._fields = [cast("Field[Any, Any]", model._meta.get_field(name)) for name in fields]  # noqa: SLF001
        self._kept: dict[tuple[str, bool], _Statement] = {}

    def first(self, *values: Any) -> M | None:
        """The row whose fields have these values, or None."""
        alias = router.db_for_write(self._model)
        connection = connections[alias]
        # MariaDB's times are read in another way without time zones.
        key = alias, settings.USE_TZ
        if key not in self._kept:
            self._kept[key] = _statement(self._build(*values), alias)
        kept = self._kept[key]
        params = [
            field.get_db_prep_value(value, connection)
            for field, value in zip(self._fields, values, strict=True)
        ]

        def fetch() -> tuple[Any, ...] | None:
            with connection.cursor() as cursor:
                cursor.execute(kept.sql, params)
                row: tuple[Any, ...] | None = cursor.fetchone()
            return row

        # Often the first statement of a call, on a connection that was idle since the last one.
        row = retrying(alias, fetch)
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
    """Compile ``rows``, which Django would do again at every call."""
    if not rows.query.is_sliced:
        rows = rows.order_by()
    compiler = rows.query.get_compiler(alias)
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


@functools.lru_cache(maxsize=256)
def _guarded_update(
    model: type[Model],
    changes: tuple[str, ...],
    same: tuple[tuple[str, bool], ...],
    guard_sql: str,
    alias: str,
) -> str:
    """``same`` says of each field whether it must be NULL."""
    columns = _quoted_columns(model, alias)
    equal = [f" AND {columns[name]} {'IS NULL' if null else '= %s'}" for name, null in same]
    return (
        f"UPDATE {columns['']} SET {', '.join(f'{columns[name]} = %s' for name in changes)} "  # noqa: S608 - names of the model's own
        f"WHERE {columns['pk']} = %s AND {guard_sql}{''.join(equal)}"
    )


@functools.lru_cache(maxsize=16)
def _insertion(model: type[Model], names: tuple[str, ...], alias: str) -> str:
    columns = _quoted_columns(model, alias)
    return (
        f"INSERT INTO {columns['']} ({', '.join(columns[name] for name in names)}) "  # noqa: S608 - names of the model's own
        f"VALUES ({', '.join(['%s'] * len(names))})"
    )


@functools.lru_cache(maxsize=16)
def _fields(model: type[Model]) -> dict[str, tuple[Field[Any, Any], type | None]]:
    """Field name → the field, and ``str`` or ``datetime`` if its values are such."""

    def kind_of(field: Field[Any, Any]) -> type | None:
        return next((kind for kind, fields in _KINDS.items() if isinstance(field, fields)), None)

    return {field.name: (field, kind_of(field)) for field in model._meta.concrete_fields}  # noqa: SLF001


@functools.lru_cache(maxsize=16)
def _quoted_columns(model: type[Model], alias: str) -> dict[str, str]:
    """Field name → quoted column; "pk" and, for the table itself, ""."""
    quote = connections[alias].ops.quote_name
    names = {field.name: field.column or "" for field in model._meta.concrete_fields}  # noqa: SLF001
    names |= {"pk": names["id"], "": model._meta.db_table}  # noqa: SLF001
    return {name: quote(column) for name, column in names.items()}
