"""Lay the files of the chosen answers over the project, then delete `overlays/`; no prompt is known by name here.

`overlays/<prompt>/<answer>/` holds, in the project's own layout, the files that only this answer wants, or wants in
another form: they replace common ones. A slash in an answer is a hyphen in its folder: `http-protobuf`.
"""

import json
import os
import sys

ANSWERS: dict[str, object] = json.loads(r"""{{ cookiecutter | tojson }}""")
# The choices of every prompt. A replay has only the answers here and cruft nothing, so a test of the template checks
# all overlays once more.
OPTIONS: dict[str, object] = json.loads(r"""{{ _cookiecutter | default({}) | tojson }}""")

OVERLAYS = "overlays"


class OverlayError(Exception):
    """The template's overlays contradict its prompts or each other."""


def folder_name(answer: object) -> str:
    """Return the name of an answer's folder.

    >>> folder_name("http/protobuf")
    'http-protobuf'
    """
    return str(answer).replace("/", "-")


def find_moves() -> dict[str, str]:
    """Return the overlay file for each path of the project that gets one.

    No path gets two, so the order of the prompts means nothing.
    """
    moves: dict[str, str] = {}
    for prompt in sorted(os.listdir(OVERLAYS)):
        folder = os.path.join(OVERLAYS, prompt)
        if prompt.startswith("_") or prompt not in ANSWERS:
            raise OverlayError(f"{folder}: cookiecutter.json has no prompt {prompt!r}")
        choices = OPTIONS.get(prompt)
        for answer in sorted(os.listdir(folder)):
            if isinstance(choices, list) and answer not in map(folder_name, choices):
                raise OverlayError(f"{os.path.join(folder, answer)}: prompt {prompt!r} has no such choice")
        chosen = os.path.join(folder, folder_name(ANSWERS[prompt]))
        for parent, _, names in os.walk(chosen):
            for name in names:
                source = os.path.join(parent, name)
                target = os.path.relpath(source, chosen)
                if moves.setdefault(target, source) != source:
                    raise OverlayError(f"{moves[target]} and {source} are both meant to be {target}")
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
    """Lay the overlays, if the template has any; the exit status."""
    try:
        if os.path.isdir(OVERLAYS):
            lay_overlays()
    except (OverlayError, OSError) as error:
        print(f"\nThe template's overlays cannot be laid: {error}\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
