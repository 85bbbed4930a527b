# % include "gunicorn.conf.py"
