"""The service's settings: environment variables, read once when the service starts.

`Settings` holds what every service needs. Add your own to `ServiceSettings` in components.py, as fields or as
another base class, declared where it is used (https://docs.pydantic.dev/latest/concepts/pydantic_settings/).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar, get_args

from pydantic import BeforeValidator, Field, PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .observability.redaction import MASK, mask

S = TypeVar("S", bound=BaseSettings)

Upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class SettingsError(Exception):
    """One or more variables are missing or not valid; the message names each of them."""


class Settings(BaseSettings):
    """The settings of every service. An empty variable counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on")] = 8000
    web_concurrency: Annotated[PositiveInt, Field(description="number of worker processes")] = 1
    # % if cookiecutter.framework != "fastapi"
    threads: Annotated[PositiveInt, Field(description="number of threads per worker process")] = 8
    # % endif
    max_body_bytes: Annotated[PositiveInt, Field(description="largest request body in bytes")] = 65536
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Upper, Field(description="lowest")] = "INFO"
    log_format: Annotated[Literal["json", "text"], Lower, Field(description="format of the console")] = "json"
    log_access: Annotated[bool, Field(description="log one line per request")] = False
    trace_response_header: Annotated[bool, Field(description="send the trace ID to the client")] = False
    observability_speedups: Annotated[bool, Field(description="apply observability/speedups.py")] = True
    # % if cookiecutter.framework == "django"
    secret_key: Annotated[SecretStr | None, Field(description="Django's key; one per start if it is not set")] = None
    allowed_hosts: Annotated[str, Field(description="host names, separated by commas")] = "*"
    # % endif
{{ "" }}

def load(settings: type[S]) -> S:
    """Return the settings read from the environment.

    Raises:
        SettingsError: one line for each variable that is not valid, with its value and what is allowed. Values that
            may hold a secret are masked.

    """
    try:
        return settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(settings, error))) from None


def _describe(settings: type[BaseSettings], error: ValidationError) -> list[str]:
    lines = []
    for found in error.errors():
        name = str(found["loc"][0]) if found["loc"] else ""
        message = found["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if found["type"] == "missing":
            lines.append(f"{name.upper()} is required: set it in the environment.")
        else:
            field = settings.model_fields.get(name)
            is_secret = field and SecretStr in (field.annotation, *get_args(field.annotation))
            value = MASK if is_secret else mask(name, str(found["input"]))
            lines.append(f"{name.upper()}={value!r} is not valid: {message}.")
    return lines
