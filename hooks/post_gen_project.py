"""Move the files of the chosen answers into the project, then delete `overlays/`; no choice is known by name here.

`overlays/<prompt>/<answer>/` holds, in the project's own layout, the files that only this answer gets. Alternatives are
separated by commas: `overlays/framework/flask,django/`. What depends on two or three prompts is in
`overlays/<prompt>+<prompt>/<answer>+<answer>/`, with the prompts in alphabetical order and the same alternatives:
`overlays/framework+sample/flask,django+orders/`. A slash in an answer is a hyphen in its folder: `http-protobuf`.
"""

import os
import sys


def read(text: str) -> dict[str, object]:
    r"""Return an object of JSON. Importing json would take longer than everything else here.

    >>> read(r'{"a": [true, null], "b": "\u00fc \ud83d\ude80"}')
    {'a': [True, None], 'b': 'ü 🚀'}
    """
    found = eval(text, {"true": True, "false": False, "null": None})  # JSON is Python except for these names ...
    for key, value in found.items():
        if isinstance(value, str):  # ... and characters beyond U+FFFF, which it writes as two.
            found[key] = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return dict(found)


ANSWERS = read(r"""{{ cookiecutter | tojson }}""")
# The choices of every prompt. A replay has only the answers here, and cruft nothing, so a test of the template checks
# all its overlays as well. That test also compares them with the common files: here, in a project that is generated
# again, a file that exists may come from the last time.
OPTIONS = read(r"""{{ _cookiecutter | default({}) | tojson }}""")

OVERLAYS = "overlays"
PACKAGE = "{{ '{{cookiecutter.package_name}}' }}"  # the package's folder, in an overlay that cookiecutter only copies


class OverlayError(Exception):
    """The template's overlays contradict its prompts or each other."""


def folder_name(answer: object) -> str:
    """Return the name of an answer's folder.

    >>> folder_name("http/protobuf")
    'http-protobuf'
    """
    return str(answer).replace("/", "-")


def find_chosen() -> list[str]:
    """Return the folders whose answers were all given."""
    chosen = []
    for group in sorted(os.listdir(OVERLAYS)):
        folder = os.path.join(OVERLAYS, group)
        prompts = group.split("+")
        for prompt in prompts:
            if prompt.startswith("_") or prompt not in ANSWERS:
                raise OverlayError(f"{folder}: cookiecutter.json has no prompt {prompt!r}")
        if len(prompts) > 3 or prompts != sorted(set(prompts)):
            raise OverlayError(f"{folder}: expected one to three prompts, in alphabetical order")
        for answers in sorted(os.listdir(folder)):
            path = os.path.join(folder, answers)
            parts = answers.split("+")
            if len(parts) != len(prompts):
                raise OverlayError(f"{path}: expected one answer per prompt")
            fits = True
            for prompt, part in zip(prompts, parts, strict=True):
                alternatives, choices = part.split(","), OPTIONS.get(prompt)
                if isinstance(choices, list) and not set(alternatives) <= set(map(folder_name, choices)):
                    raise OverlayError(f"{path}: prompt {prompt!r} has no such choice")
                fits = fits and folder_name(ANSWERS[prompt]) in alternatives
            if fits:
                chosen.append(path)
    return chosen


def find_moves() -> dict[str, str]:
    """Return the overlay file for each path of the project that gets one.

    No path gets two, so the order of the overlays does not matter.
    """
    moves: dict[str, str] = {}
    for folder in find_chosen():
        for parent, _, names in os.walk(folder):
            for name in names:
                source = os.path.join(parent, name)
                target = os.path.relpath(source, folder).replace(PACKAGE, str(ANSWERS["package_name"]))
                if moves.setdefault(target, source) != source:
                    raise OverlayError(f"{moves[target]} and {source} both produce {target}")
    return moves


def lay_overlays() -> None:
    """Move the chosen files into the project, with their permissions; delete the others."""
    for target, source in find_moves().items():
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        os.replace(source, target)
    for parent, _, names in os.walk(OVERLAYS, topdown=False):  # shutil would take longer to import
        for name in names:
            os.remove(os.path.join(parent, name))
        os.rmdir(parent)


def main() -> int:
    """Lay the overlays, if the template has any; return the exit status."""
    try:
        if os.path.isdir(OVERLAYS):
            lay_overlays()
    except (OverlayError, OSError) as error:
        print(f"\nThe template's overlays cannot be laid: {error}\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
