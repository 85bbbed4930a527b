"""The history of the tables: `python manage.py makemigrations {{cookiecutter.package_name}}` adds to it."""
