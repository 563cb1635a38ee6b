"""``manage.py create_node NAME``: register a node and print its daemon's configuration, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.urls import NoReverseMatch, reverse

from backups_remote.models import Node

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Creates a node."""

    help = "Registers a node and prints what goes into its daemon's config.yml. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """NAME, --url, --remote."""
        parser.add_argument("name", help="A name for the node, such as fra-1.")
        parser.add_argument("--url", default="", help="The daemon's base URL.")
        parser.add_argument(
            "--remote",
            default="https://panel.example.com",
            help="This panel's base URL as the daemon reaches it.",
        )

    def handle(self, *, name: str, url: str, remote: str, **_options: Any) -> None:
        """Create it, or say what is wrong with which argument."""
        node = Node(name=name, url=url)
        try:
            node.full_clean()
        except ValidationError as error:
            problems = [f"{field}: {' '.join(m)}" for field, m in error.message_dict.items()]
            raise CommandError("\n".join(problems)) from None
        node.save()
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


def _prefix() -> str:
    try:
        return reverse("backups_remote:backup", args=["-"]).removesuffix("backups/-")
    except NoReverseMatch:
        return ""
