"""docs/contract.md has every name in your code, and no other; docs/ has every setting, with its true default."""

from __future__ import annotations

import re

from .contract import add, defaults, documented, documented_defaults, exempt, names_in_code


def test_every_name_in_the_code_is_documented() -> None:
    known = documented() | documented("configuration.md")
    missing = [
        f"{name.where}: {add(name.kind, name.text)}"
        for name in names_in_code()
        if name.text not in exempt()
        and not any(kind == name.kind and re.fullmatch(name.pattern, text) for kind, text in known)
    ]
    assert not missing, "\n".join(missing)


def test_every_documented_name_is_in_the_code() -> None:
    names = list(names_in_code())
    stale = [
        f"docs/contract.md: remove the {kind.lower()} {text!r}, which your code does not have"
        for kind, text in sorted(documented())
        if text not in exempt()
        and not any(kind == name.kind and (text == name.text or re.fullmatch(name.pattern, text)) for name in names)
    ]
    assert not stale, "\n".join(stale)


def test_every_setting_is_documented_with_its_default() -> None:
    known = documented_defaults()
    for name, default in defaults().items():
        hint = "add it to a table of docs/contract.md with the headings Variable, Default, Unit, Effect"
        assert name in known, f"{name} is not documented: {hint}"
        if default is not None:
            assert known[name] == (f"`{default}`" if default else "none"), f"{name}: the default is {default!r}"
