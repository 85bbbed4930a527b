"""The {{cookiecutter.project_slug}}."""
