"""The WSGI application that gunicorn and runserver serve."""

from django.core.wsgi import get_wsgi_application

from .app import start
from .observability import own_process
from .observability.instrument import instrument_wsgi

start()
application = instrument_wsgi(get_wsgi_application())
own_process()
