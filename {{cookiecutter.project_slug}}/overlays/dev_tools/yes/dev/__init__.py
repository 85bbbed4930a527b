"""Tools for development: `python -m dev` shows what the service exports. The service never imports them."""
