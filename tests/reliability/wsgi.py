"""What gunicorn serves under torture."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.reliability.settings"

from django.core.wsgi import get_wsgi_application

from tests.reliability.warm import load_project, warm_up

application = get_wsgi_application()
warm_up()
load_project()
