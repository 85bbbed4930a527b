"""Check every answer before any file is written, and report all invalid ones in one message.

Cookiecutter renders this file and runs it on its own Python (3.10 or later): standard library only, and Jinja only
inside string literals, so that the source is valid Python.
"""

import keyword
import os
import sys
from collections.abc import Callable


def read(text: str) -> dict[str, object]:
    r"""Return an object of JSON. Importing json and re would take longer than all the checks.

    >>> read(r'{"a": [true, null], "b": "\u00fc \ud83d\ude80"}')
    {'a': [True, None], 'b': 'ü 🚀'}
    """
    found = eval(text, {"true": True, "false": False, "null": None})  # JSON is Python except for these names ...
    for key, value in found.items():
        if isinstance(value, str):  # ... and characters beyond U+FFFF, which it writes as two.
            found[key] = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return dict(found)


# tojson escapes quotes, backslashes and control characters, so no answer can end this raw string.
ANSWERS = read(r"""{{ cookiecutter | tojson }}""")

# The choices of cookiecutter.json (a test compares them): cookiecutter does not check the answers of a replay file.
CHOICES = {
    "framework": ("fastapi", "flask", "django"),
    "otlp_protocol": ("http/protobuf", "grpc"),
    "decorator_style": ("traced", "paired", "native"),
    "sample": ("orders", "minimal"),
    "worker": ("none", "celery"),
    "python_version": ("3.14", "3.13", "3.12", "3.11", "3.15"),
    "dev_tools": ("yes", "no"),
    "monitoring": ("yes", "no"),
    "kubernetes": ("yes", "no"),
    "github_actions": ("yes", "no"),
}

WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}

# YAML reads these as booleans or null wherever they appear without quotes.
YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}

KEYWORDS = {*keyword.kwlist, *keyword.softkwlist, "type"}
STANDARD_LIBRARY = {name.lower() for name in sys.stdlib_module_names}

# Modules that only some Python versions have: the result must not depend on the version that runs this hook.
STANDARD_LIBRARY_ELSEWHERE = """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils imghdr imp lib2to3
    mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib
"""

# Folders and files of the generated project, and names that git or test tools treat specially.
PROJECT_NAMES = """
    build conftest deploy dev dist docs env gunicorn_conf manage migrations overlays scripts src test tests venv
"""

# Distributions and import names that generated projects install, with underscores.
DEPENDENCIES = """
    aiosqlite alembic amqp annotated_doc annotated_types anyio asgiref ast_serialize async_timeout asyncpg attr attrs
    billiard blinker celery celery_types certifi cffi charset_normalizer click click_didyoumean click_plugins click_repl
    colorama coverage dateutil deprecated dj_database_url django django_stubs django_stubs_ext dotenv editables
    exceptiongroup execnet fastapi flask google googleapis_common_protos greenlet grpc grpcio gunicorn h11 h2 hatchling
    hiredis httpcore httpcore2 httptools httpx httpx2 hypothesis idna importlib_metadata iniconfig itsdangerous jinja2
    kombu librt mako markdown_it markdown_it_py markupsafe mdurl mypy mypy_django_plugin mypy_extensions mypyc
    opentelemetry orjson packaging pathspec pip pkg_resources pluggy prompt_toolkit protobuf psutil psycopg psycopg2
    psycopg_binary psycopg_c psycopg_pool py pydantic pydantic_core pydantic_settings pygments pytest pytest_asyncio
    pytest_cov pytest_django pytest_xdist python_dateutil python_dotenv redis requests rich ruff setuptools
    sitecustomize six sniffio sortedcontainers sqlalchemy sqlparse starlette tomli trove_classifiers truststore
    types_pyyaml types_requests typing_extensions typing_inspection tzdata tzlocal urllib3 usercustomize uv uvicorn
    uvloop vine virtualenv watchfiles wcwidth websockets werkzeug wheel wrapt xdist yaml zipp
"""


LOWERCASE, DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"


def consists_of(characters: str, value: str) -> bool:
    """Return whether the value is not empty and has no other characters.

    >>> consists_of(DIGITS, "42"), consists_of(DIGITS, "4.2"), consists_of(DIGITS, "²"), consists_of(DIGITS, "")
    (True, False, False, False)
    """
    return value != "" and set(value) <= set(characters)


def is_dependency(name: str) -> bool:
    """Return whether a dependency has that name; runs of `-` and `_` are equivalent.

    >>> is_dependency("opentelemetry-sdk"), is_dependency("pydantic--core"), is_dependency("flask")
    (True, True, True)
    >>> is_dependency("flask-orders")
    False
    """
    name = name.replace("-", "_")
    while "__" in name:
        name = name.replace("__", "_")
    return name in DEPENDENCIES.split() or name.startswith("opentelemetry_")


def check_text(value: str, most: int) -> str | None:
    r"""Return what is wrong with a line of free text, if anything.

    >>> check_text('Ünï "quoted" \\ {x} 🚀', 60)
    >>> check_text("", 60)
    'is blank'
    >>> check_text(" Orders", 60)
    'starts or ends with a space'
    >>> check_text("Orders\nPayments", 60)
    'contains U+000A at position 7, which is not printable'
    >>> check_text("a\u2028", 60), check_text("\u202eb", 60)
    ('contains U+2028 at position 2, which is not printable', 'contains U+202E at position 1, which is not printable')
    >>> check_text("x" * 61, 60)
    'has 61 characters'
    """
    if len(value) > most:
        return f"has {len(value)} characters"
    for position, character in enumerate(value, 1):
        if not character.isprintable():
            return f"contains U+{ord(character):04X} at position {position}, which is not printable"
    if not value.strip():
        return "is blank"
    return "starts or ends with a space" if value != value.strip() else None


def check_project_name(value: str) -> str | None:
    """Return what is wrong with the project's display name, if anything.

    >>> check_project_name("Order Service")
    >>> check_project_name("x" * 61)
    'has 61 characters'
    """
    return check_text(value, 60)


def check_project_slug(value: str) -> str | None:
    r"""Return what is wrong with the name of the folder, distribution and service, if anything.

    >>> check_project_slug("order-service"), check_project_slug("a"), check_project_slug("a" * 63)
    (None, None, None)
    >>> check_project_slug("Order_Service"), check_project_slug("orders\n")
    ('is not a DNS label', 'is not a DNS label')
    >>> check_project_slug("7days"), check_project_slug("orders-"), check_project_slug("a" * 64)
    ('is not a DNS label', 'is not a DNS label', 'is not a DNS label')
    >>> check_project_slug("com1")
    'is a Windows device name'
    >>> check_project_slug("null")
    'is not a string in YAML'
    >>> check_project_slug("opentelemetry-sdk")
    'is a package the service depends on'
    """
    if not consists_of(f"{LOWERCASE}{DIGITS}-", value) or len(value) > 63:
        return "is not a DNS label"
    if value[0] not in LOWERCASE or value[-1] == "-":
        return "is not a DNS label"
    if value in WINDOWS_DEVICES:
        return "is a Windows device name"
    if value in YAML_WORDS:
        return "is not a string in YAML"
    return "is a package the service depends on" if is_dependency(value) else None


def check_package_name(value: str) -> str | None:
    r"""Return what is wrong with the name of the Python package, if anything.

    >>> check_package_name("order_service"), check_package_name("a1")
    (None, None)
    >>> check_package_name("order-service"), check_package_name("_orders"), check_package_name("bücher")
    ('is not a lowercase identifier', 'is not a lowercase identifier', 'is not a lowercase identifier')
    >>> check_package_name("a" * 64)
    'has 64 characters'
    >>> check_package_name("import"), check_package_name("match")
    ('is a Python keyword', 'is a Python keyword')
    >>> check_package_name("json"), check_package_name("distutils")
    ('is a standard library module', 'is a standard library module')
    >>> check_package_name("flask"), check_package_name("tests")
    ('is a package the service depends on', 'is a name the project itself uses')
    >>> check_package_name("nul")
    'is a Windows device name'
    """
    if not consists_of(f"{LOWERCASE}{DIGITS}_", value) or value[0] not in LOWERCASE:
        return "is not a lowercase identifier"
    if len(value) > 63:
        return f"has {len(value)} characters"
    if value in KEYWORDS:
        return "is a Python keyword"
    if value in STANDARD_LIBRARY or value in STANDARD_LIBRARY_ELSEWHERE.split():
        return "is a standard library module"
    if is_dependency(value):
        return "is a package the service depends on"
    if value in PROJECT_NAMES.split():
        return "is a name the project itself uses"
    return "is a Windows device name" if value in WINDOWS_DEVICES else None


def check_description(value: str) -> str | None:
    """Return what is wrong with the description, if anything.

    >>> check_description("A Python microservice instrumented with OpenTelemetry.")
    >>> check_description("x" * 201)
    'has 201 characters'
    """
    return check_text(value, 200)


def check_author_name(value: str) -> str | None:
    """Return what is wrong with the name of the author or team, if anything.

    >>> check_author_name("Zoë O'Brien")
    >>> check_author_name("x" * 101)
    'has 101 characters'
    """
    return check_text(value, 100)


def check_service_namespace(value: str) -> str | None:
    r"""Return what is wrong with the group of services, if anything.

    >>> check_service_namespace("default"), check_service_namespace("Shop.eu-1_b")
    (None, None)
    >>> check_service_namespace("my shop"), check_service_namespace("shop."), check_service_namespace("a,b=c")
    ('is not a valid name', 'is not a valid name', 'is not a valid name')
    """
    characters = f"{LOWERCASE}{LOWERCASE.upper()}{DIGITS}"
    is_name = consists_of(f"{characters}._-", value) and consists_of(characters, value[0] + value[-1])
    return None if is_name and len(value) <= 63 else "is not a valid name"


def check_sampler_ratio(value: str) -> str | None:
    """Return what is wrong with the share of traces, if anything.

    >>> check_sampler_ratio("0"), check_sampler_ratio("0.25"), check_sampler_ratio("1"), check_sampler_ratio("1.0")
    (None, None, None, None)
    >>> check_sampler_ratio(".5")
    'needs a digit before the decimal point: write 0.5'
    >>> check_sampler_ratio("1.1"), check_sampler_ratio("1e-3"), check_sampler_ratio("nan")
    ('is not a decimal from 0 to 1', 'is not a decimal from 0 to 1', 'is not a decimal from 0 to 1')
    >>> check_sampler_ratio("-0"), check_sampler_ratio("0,5"), check_sampler_ratio("50%")
    ('is not a decimal from 0 to 1', 'is not a decimal from 0 to 1', 'is not a decimal from 0 to 1')
    """
    whole, point, digits = value.partition(".")
    if not point or (consists_of(DIGITS, digits) and len(digits) <= 9):
        if whole == "0" or (whole == "1" and not digits.strip("0")):
            return None
        if point and not whole:
            return f"needs a digit before the decimal point: write 0{value}"
    return "is not a decimal from 0 to 1"


def check_choice(choices: tuple[str, ...]) -> Callable[[str], str | None]:
    """Return the check of a prompt with a list of choices.

    >>> check_choice(("yes", "no"))("yes")
    >>> check_choice(("yes", "no"))("maybe")
    'is not one of the choices'
    """
    return lambda value: None if value in choices else "is not one of the choices"


# prompt: check, what is allowed, an example
RULES: dict[str, tuple[Callable[[str], str | None], str, str]] = {
    "project_name": (
        check_project_name,
        "1 to 60 printable characters, no leading or trailing space",
        "Order Service",
    ),
    "project_slug": (
        check_project_slug,
        "1 to 63 characters a-z, 0-9 and hyphen; starts with a letter, does not end with a hyphen; not the name of a "
        "dependency or a reserved word of Windows or YAML",
        "order-service",
    ),
    "package_name": (
        check_package_name,
        "1 to 63 characters a-z, 0-9 and underscore; starts with a letter; not a Python keyword or the name of "
        "an existing module",
        "order_service",
    ),
    "description": (
        check_description,
        "1 to 200 printable characters, no leading or trailing space",
        "Takes orders and ships them.",
    ),
    "author_name": (
        check_author_name,
        "1 to 100 printable characters, no leading or trailing space",
        "Order Team",
    ),
    "service_namespace": (
        check_service_namespace,
        "1 to 63 characters A-Z, a-z, 0-9, dot, underscore and hyphen; starts and ends with a letter or digit",
        "shop",
    ),
    "sampler_ratio": (
        check_sampler_ratio,
        "a decimal number from 0 to 1, with up to 9 digits after the point",
        "0.25",
    ),
    **{prompt: (check_choice(them), f"one of {', '.join(them)}", them[0]) for prompt, them in CHOICES.items()},
}


def find_errors(answers: dict[str, object]) -> dict[str, str]:
    """Return what is wrong with each refused answer, and what is allowed, by prompt."""
    errors = {}
    for prompt, (check, allowed, example) in RULES.items():
        value = answers.get(prompt)
        wrong = check(value) if isinstance(value, str) else "is not a string: put it in double quotes"
        if wrong:
            shown = repr(value)
            if len(shown) > 70:
                shown = f"{shown[:60]}..."
            errors[prompt] = f"  {prompt}: {shown}\n    {wrong}.\n    Allowed: {allowed}. For example: {example}"
    return errors


def find_replay_file(answers: dict[str, object]) -> str | None:
    """Return the file in which cookiecutter stored these answers before it ran the hooks.

    It is named after the template's folder, but a local template may be given as ".", which only cookiecutter can
    resolve, so compare the contents.
    """
    import json

    folder = os.path.expanduser(os.path.join("~", ".cookiecutter_replay"))
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        try:
            with open(path, encoding="utf-8") as file:
                if json.load(file)["cookiecutter"] == answers:
                    return path
        except (OSError, ValueError, TypeError, KeyError):
            continue  # not a replay file
    return None


def explain_next_step(answers: dict[str, object], examples: dict[str, str]) -> str:
    """Return how to continue without retyping the valid answers."""
    import json  # needed only on failure
    import shlex
    import subprocess

    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    if "_repo_dir" not in answers:  # cruft stores no answers, and takes them as JSON
        new = join([json.dumps(examples)])
        return (
            "Run the same command again with valid answers, which cruft takes as\n"
            f"  cruft create --extra-context {new}\n"
            f"  cruft update -y --variables-to-update {new}"
        )
    options = []
    if answers.get("_checkout"):
        options += ["--checkout", str(answers["_checkout"])]
    if answers.get("_output_dir") != os.environ.get("PWD"):
        options += ["--output-dir", str(answers.get("_output_dir"))]
    if os.listdir():  # the project existed, so the user asked to overwrite it
        options += ["--overwrite-if-exists"]
    template = str(answers.get("_template"))
    again = join(["cookiecutter", *options, template, *(f"{key}={value}" for key, value in examples.items())])
    replay_file = find_replay_file(answers)
    place = replay_file or "the template's file in cookiecutter's replay_dir (~/.cookiecutter_replay by default)"
    replay = ["--replay-file", replay_file] if replay_file else ["--replay"]
    return (
        "Run the same command again with valid answers, such as\n"
        f"  {again}\n"
        "Or correct them in the file in which cookiecutter stored all your answers,\n"
        f"  {place}\n"
        "and run\n"
        f"  {join(['cookiecutter', *replay, *options, template])}"
    )


def main() -> int:
    """Check the answers; return the exit status."""
    errors = find_errors(ANSWERS)
    if not errors:
        return 0
    invalid = "1 answer is" if len(errors) == 1 else f"{len(errors)} answers are"
    examples = {prompt: RULES[prompt][2] for prompt in errors}
    parts = [
        f"\nNothing was generated. {invalid} not valid:",
        *errors.values(),
        explain_next_step(ANSWERS, examples),
    ]
    print("\n\n".join(parts), end="\n\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
