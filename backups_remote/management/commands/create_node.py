"""``manage.py create_node NAME``: register a node and print its daemon's configuration, once.

With ``--rotate`` for a node that there is: replace its token, and print the same with the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.urls import NoReverseMatch, reverse

from backups_remote.models import Node

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Creates a node, or gives one a new token."""

    help = "Registers a node and prints what goes into its daemon's config.yml. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """NAME, --url, --remote, --rotate."""
        parser.add_argument("name", help="A name for the node, such as fra-1.")
        parser.add_argument("--url", help="The daemon's base URL.")
        parser.add_argument(
            "--remote",
            default="https://panel.example.com",
            help="This panel's base URL as the daemon reaches it.",
        )
        parser.add_argument(
            "--rotate",
            action="store_true",
            help="Give the node of this name a new token instead. The old one ends at once.",
        )

    def handle(
        self, *, name: str, url: str | None, remote: str, rotate: bool, **_options: Any
    ) -> None:
        """Do it, or say what is wrong with which argument."""
        if rotate and url is not None:
            raise CommandError("--url: not with --rotate, which changes nothing but the token.")
        node = _rotated(name) if rotate else _created(name, url or "")
        self.stdout.write(
            "# The daemon's config.yml; the token is not shown again.\n"
            f"uuid: {node.uuid}\n"
            f"token_id: {node.token_id}\n"
            f"token: {node.token}\n"
            f"remote: {remote.rstrip('/')}"
        )
        if _prefix() != "/api/remote/":
            self.stderr.write(
                self.style.WARNING("Daemons call <remote>/api/remote/…: include the URLs there.")
            )


def _created(name: str, url: str) -> Node:
    node = Node(name=name, url=url)
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


def _prefix() -> str:
    try:
        return reverse("backups_remote:backup", args=["-"]).removesuffix("backups/-")
    except NoReverseMatch:
        return ""
