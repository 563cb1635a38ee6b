"""Node: a machine whose daemon makes backups."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backups_remote import crypto
from backups_remote.addresses import validate_base_url
from backups_remote.models.disks import validate_disk
from backups_remote.models.saving import GuardedModel, GuardedQuerySet

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class _BaseURLField(_CharField):
    """A URL that paths are appended to: it loses its trailing slashes."""

    def to_python(self, value: Any) -> Any:
        return _without_slash(super().to_python(value))

    def get_prep_value(self, value: Any) -> Any:
        return _without_slash(super().get_prep_value(value))

    def deconstruct(self) -> Any:
        """As a plain CharField: that is what the column is."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


def _without_slash(value: Any) -> Any:
    return value.rstrip("/") if isinstance(value, str) else value


class NodeQuerySet(GuardedQuerySet["Node"]):
    """Nodes, whose guarded columns ``update_or_create()`` refuses."""


class Node(GuardedModel):
    """A machine that runs the daemon. Creating one makes its token."""

    GUARDED: ClassVar = {
        "token_id": "rotate_token()",
        "encrypted_token": "rotate_token()",
        "restarted_at": "lifecycle.node_restarted()",
        "heard_at": "lifecycle.node_heard()",
    }

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True)
    name = models.CharField(_("name"), max_length=191, unique=True)
    token_id = models.CharField(
        _("token id"),
        max_length=crypto.TOKEN_ID_LENGTH,
        unique=True,
        default=crypto.new_token_id,
        editable=False,
    )
    encrypted_token = models.TextField(
        _("token, encrypted"), default=crypto.new_encrypted_token, editable=False
    )
    url = _BaseURLField(
        _("daemon URL"),
        max_length=200,
        blank=True,
        default="",
        validators=[validate_base_url],
        help_text=_("Where the panel reaches the daemon, such as https://fra-1.example.com:8080."),
    )
    disk = models.CharField(
        _("disk"),
        max_length=191,
        blank=True,
        default="",
        db_default="",
        validators=[validate_disk],
        help_text=_("The disk of new backups of its servers. Empty: the setting DEFAULT_DISK."),
    )
    restarted_at = models.DateTimeField(
        _("daemon restarted"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When the daemon said last that it has forgotten what it was doing."),
    )
    heard_at = models.DateTimeField(
        _("last heard"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When its daemon called last, to the minute."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    objects = NodeQuerySet.as_manager()

    class Meta:
        base_manager_name = "written"
        ordering = ["name"]
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        permissions = [
            ("probe_node", "Can ask whether the daemon of a node answers"),
            ("rotate_node_token", "Can replace the token of a node"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, **kwargs: Any) -> None:
        """Save what belongs to the host.

        Raises:
            ValueError: ``update_fields`` names a guarded column.

        """
        self.url = _without_slash(self.url)
        super().save(**kwargs)

    @property
    def token(self) -> str:
        """The 64-character token in the clear.

        Raises:
            TokenUnreadable: it was encrypted under a SECRET_KEY that is gone.

        """
        return crypto.decrypt(self.encrypted_token)

    @property
    def bearer_token(self) -> str:
        """What the daemon sends: ``"<token_id>.<token>"``."""
        return f"{self.token_id}.{self.token}"

    def rotate_token(self) -> str:
        """Replace token and token id at once, save them, and return the new bearer token."""
        new = {
            "token_id": crypto.new_token_id(),
            "encrypted_token": crypto.new_encrypted_token(),
            "updated_at": timezone.now(),
        }
        alias = router.db_for_write(type(self), instance=self)
        Node.objects.using(alias).filter(pk=self.pk).update(**new)
        for name, value in new.items():
            setattr(self, name, value)
        return self.bearer_token
