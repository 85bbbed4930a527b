"""The WSGI application that gunicorn and `flask run` serve."""

from .app import create_app
from .observability import own_process

application = create_app()
own_process()
