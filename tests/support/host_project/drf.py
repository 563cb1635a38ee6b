"""What the host tells DRF to use everywhere."""


class Bang:
    """Stands for every class that DRF lets a project set: using it is an error."""

    media_type = "bang/bang"

    def __init__(self, *args, **kwargs):
        raise RuntimeError("The host's own class was used.")


class Shouting:
    """The host's own renderer."""

    media_type = "text/shout"
    format = "shout"
    charset = "utf-8"

    def render(self, data, *args, **kwargs):
        return str(data).upper().encode()


def answer_as_a_teapot(error, context):
    """The host's own exception handler."""
    from rest_framework.response import Response

    return Response({"host": "said"}, status=418)
