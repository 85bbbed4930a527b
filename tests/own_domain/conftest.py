"""The files of a domain, which tests/regenerate/test_own_domain.py lays over a service; its tests run there."""

collect_ignore_glob = ["*/tests"]
