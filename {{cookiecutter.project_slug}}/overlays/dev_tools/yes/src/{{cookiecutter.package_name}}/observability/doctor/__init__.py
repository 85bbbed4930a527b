"""The doctor: `python -m {{cookiecutter.package_name}}.observability.doctor` checks the service's setup.

It does not start the service, so it also works where the service does not start.
"""
