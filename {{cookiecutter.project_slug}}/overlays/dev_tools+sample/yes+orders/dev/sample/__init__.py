"""Yours: the requests and stand-ins the development tools use. Replace the contents of both modules with your own."""
