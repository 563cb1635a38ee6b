"""What the three admins share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

from django.apps import apps
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db import connections, transaction
from django.db.models import Model

from backups_remote.actors import ActorKind, acting_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.admin import ModelAdmin as _ModelAdmin
    from django.contrib.admin.filters import ListFilter
    from django.db.models import QuerySet
    from django.forms import ModelForm
    from django.forms import Select as _Select
    from django.http import HttpRequest, HttpResponse
else:
    # The templates of django-unfold need the context, the forms and the widgets of its own class.
    if apps.is_installed("unfold"):
        from unfold.admin import ModelAdmin
        from unfold.widgets import UnfoldAdminSelectWidget as _Select
    else:
        from django.contrib.admin import ModelAdmin
        from django.forms import Select as _Select

    class _ModelAdmin(ModelAdmin):
        # Generic for the type checker only: Django's class takes no parameter.
        def __class_getitem__(cls, model: object) -> type:
            del model
            return cls


#: The widget of a choice, in the looks of the theme.
SELECT: Final = _Select
#: Look-ups whose values Django passes to the database unchecked.
_UNCHECKED: Final = frozenset({"range", "regex", "iregex"})

M = TypeVar("M", bound=Model)
V = TypeVar("V", bound="Callable[..., Any]")


class SafeChangeList(ChangeList):
    """A list that treats any nonsense in its query string as an invalid filter, not as an error."""

    def get_filters(
        self, request: HttpRequest
    ) -> tuple[list[ListFilter], bool, dict[str, bool | str], bool, bool]:
        for lookup, values in self.get_filters_params().items():
            # PostgreSQL accepts no NUL, not even as a value to search for.
            if "\0" in "".join([lookup, *values]) or lookup.rpartition("__")[2] in _UNCHECKED:
                raise IncorrectLookupParameters(lookup)
        return super().get_filters(request)

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        # A number or a date out of range raises only here or in get_results().
        try:
            return super().get_queryset(request, exclude_parameters)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from error

    def get_results(self, request: HttpRequest) -> None:
        try:
            super().get_results(request)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from error


class SafeModelAdmin(_ModelAdmin[M]):
    """An admin that saves the changed fields only, and whose list is a ``SafeChangeList``."""

    changelist_class: ClassVar[type[SafeChangeList]] = SafeChangeList

    class Media:
        css: ClassVar = {"all": ("backups_remote/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        return self.changelist_class

    def save_model(
        self,
        request: HttpRequest,  # noqa: ARG002
        obj: M,
        form: ModelForm[M],
        change: bool,
    ) -> None:
        """Save the fields that were edited.

        The rest of the row may have changed since it was read: a report, a restore, a new token.
        """
        if not change:
            obj.save()
        elif form.changed_data:
            obj.save(update_fields=[*form.changed_data, "updated_at"])


class PageAdmin(SafeModelAdmin[M]):
    """An admin whose objects have pages that show more than a form."""

    def page_context(self, request: HttpRequest, obj: M) -> dict[str, Any]:
        """What the template of the page of ``obj`` needs beside Django's own."""
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        found = self.get_object(request, unquote(object_id))
        context: dict[str, Any] = {}
        if found is not None and self.has_view_or_change_permission(request, found):
            context = self.page_context(request, found)
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )


def calls_lifecycle(view: V) -> V:
    """For a view that changes backups: the user is named as the one who acts.

    ATOMIC_REQUESTS is kept off: no transaction may be open while a store is called.
    """

    @functools.wraps(view)
    def named(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with acting_as(ActorKind.USER, request.user.get_username()):
            return view(self, request, *args, **kwargs)

    wrapped = cast("V", named)
    for alias in connections:
        wrapped = transaction.non_atomic_requests(using=alias)(wrapped)
    return wrapped
