"""Yours: the requests and stand-ins the development tools use."""
