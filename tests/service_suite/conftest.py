"""These modules run among the tests of a generated service: tests/test_services.py copies them there."""

collect_ignore_glob = ["test_*.py", "dev_tools/*"]
