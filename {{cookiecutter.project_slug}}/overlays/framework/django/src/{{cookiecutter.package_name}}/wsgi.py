"""The WSGI application that gunicorn and runserver serve."""

from django.core.wsgi import get_wsgi_application

from .app import start

start()
application = get_wsgi_application()
