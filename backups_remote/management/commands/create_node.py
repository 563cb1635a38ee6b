"""``manage.py create_node NAME``: register a node and print its daemon's configuration, once.

With ``--rotate``, for an existing node: replace its token, and print the new configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from backups_remote.addresses import validate_base_url
from backups_remote.daemon.config import config_of
from backups_remote.models import Node
from backups_remote.routing import check_routes

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Creates a node, or gives one a new token."""

    help = "Registers a node and prints its daemon's config.yml, which is shown only once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="A name for the node, such as fra-1.")
        parser.add_argument("--url", help="The daemon's base URL.")
        parser.add_argument(
            "--remote",
            required=True,
            help="This panel's base URL as the daemon reaches it, with http:// or https://.",
        )
        parser.add_argument(
            "--disk",
            metavar="ALIAS",
            help="The disk of its servers' backups (default: the setting DEFAULT_DISK).",
        )
        parser.add_argument(
            "--rotate",
            action="store_true",
            help="Replace the token of an existing node. The old one becomes invalid at once.",
        )

    def handle(
        self,
        *,
        name: str,
        url: str | None,
        remote: str,
        disk: str | None,
        rotate: bool,
        **_options: Any,
    ) -> None:
        try:
            validate_base_url(remote)
        except ValidationError as error:
            raise CommandError(f"--remote: {' '.join(error.messages)}") from None
        for option, value in (("--url", url), ("--disk", disk)):
            if rotate and value is not None:
                raise CommandError(
                    f"{option}: not with --rotate, which changes only the token. "
                    "The admin changes the rest."
                )
        node = _rotated(name) if rotate else _created(name, url or "", disk or "")
        self.stdout.write(config_of(node, remote))
        for message in check_routes():
            self.stderr.write(self.style.WARNING(f"{message.msg} {message.hint}"))


def _created(name: str, url: str, disk: str) -> Node:
    node = Node(name=name, url=url, disk=disk)
    try:
        node.full_clean()
    except ValidationError as error:
        problems = [f"{field}: {' '.join(m)}" for field, m in error.message_dict.items()]
        if any(problem.code == "unique" for problem in error.error_dict.get("name", ())):
            problems.append("To give it a new token, use --rotate.")
        raise CommandError("\n".join(problems)) from None
    node.save()
    return node


def _rotated(name: str) -> Node:
    try:
        node = Node.objects.get(name=name)
    except Node.DoesNotExist:
        raise CommandError(f"name: There is no node {name!r}.") from None
    node.rotate_token()
    return node
