"""Makes processes that die by the hundred start fast: what all of them load is loaded once."""

import functools

import boto3
import botocore.loaders
from django.core.checks import run_checks


def warm_up():
    """Keep what boto reads from disk, in this process and in those forked from it."""
    loader = botocore.loaders.JSONFileLoader
    load = loader.load_file
    known = functools.cache(lambda path: load(loader(), path))
    loader.load_file = lambda _self, path: known(path)
    boto3.client("s3", region_name="us-east-1").close()


def load_project():
    """Load the host project's routes and translations, which its checks need, and check it.

    Every command does so at its start.
    """
    run_checks()
