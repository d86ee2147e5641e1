#!/usr/bin/python3
"""Reads an Apptainer definition as far as this project's needs it.

definition.py FILE check ROOT                  stages and sections are well formed, shell sections parse, files named by %files exist under ROOT
definition.py FILE script STAGE SECTION        prints a section with the default arguments filled in
definition.py FILE files STAGE                 prints the %files of a stage: FROM (a stage, or -), source, destination
Exit status: 0 if good, 1 if not, with a line for each fault.
"""

import re
import subprocess
import sys
from pathlib import Path

SHELL_SECTIONS = {"post", "test", "environment", "runscript"}
SECTIONS = SHELL_SECTIONS | {"arguments", "files", "labels", "help"}


class Stage:
    def __init__(self):
        self.header = {}
        self.sections = {}  # name -> (what follows the name, lines)

    def arguments(self):
        lines = self.lines("arguments")
        return dict(line.strip().split("=", 1) for line in lines)

    def lines(self, section):
        return [line for line in self.sections.get(section, ("", []))[1] if line.strip()]

    def script(self, section):
        return self.filled("\n".join(self.sections[section][1]))

    def filled(self, text):
        """Apptainer replaces {{ name }}, in the whole stage, by the stage's own arguments."""
        arguments = self.arguments()
        return re.sub(r"{{\s*(\w+)\s*}}", lambda match: arguments[match.group(1)], text)

    def files(self):
        options, _ = self.sections.get("files", ("", []))
        origin = options.removeprefix("from ").strip() or "-"
        return [(origin, *line.split()) for line in self.lines("files")]


def read(path):
    """The stages of a definition: each begins with `Bootstrap:`; lines before the first section are its header."""
    stages, section = [], None
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        where = f"{path}:{number}"
        if line.startswith("Bootstrap:"):
            stages.append(Stage())
            section = None
        if line.startswith("%"):
            name, _, options = line[1:].partition(" ")
            if not stages or name not in SECTIONS or name in stages[-1].sections:
                raise SystemExit(f"{where}: section '%{name}' is unknown, there twice, or before the first header")
            section = stages[-1].sections[name] = (options, [])
        elif section is not None:
            section[1].append(line)
        elif line.strip() and not line.startswith("#"):
            key, colon, value = line.partition(":")
            if not stages or not colon:
                raise SystemExit(f"{where}: '{line}' is neither a header's line nor in a section")
            stages[-1].header[key] = value.strip()
    return {stage.header.get("Stage"): stage for stage in stages}


def faults_of(name, stage, earlier, root):
    for key in ("Bootstrap", "From", "Stage"):
        if not stage.header.get(key):
            yield f"stage {name}: no '{key}' in the header"
    text = "\n".join([*stage.header.values(), *(line for _, lines in stage.sections.values() for line in lines)])
    unknown = set(re.findall(r"{{\s*(\w+)\s*}}", text)) ^ set(stage.arguments())
    if unknown:
        yield f"stage {name}: arguments {sorted(unknown)} are used without a default, or given and never used"
        return
    for section in SHELL_SECTIONS & set(stage.sections):
        for shell in ("sh", "bash"):
            parsed = subprocess.run([shell, "-n"], input=stage.script(section), text=True, capture_output=True)
            if parsed.returncode:
                yield f"stage {name}, %{section}: {parsed.stderr.strip()}"
    for origin, source, destination in stage.files():
        if origin == "-" and not (root / source).exists():
            yield f"stage {name}, %files: no '{source}' in {root}"
        if origin != "-" and origin not in earlier:
            yield f"stage {name}, %files: no stage '{origin}' before it"
        if not destination.startswith("/"):
            yield f"stage {name}, %files: destination '{destination}' is not absolute"


def check(path, root):
    stages = read(path)
    faults = [fault for i, (name, stage) in enumerate(stages.items()) for fault in faults_of(name, stage, list(stages)[:i], Path(root))]
    final = list(stages.values())[-1]
    faults += [f"the last stage has no %{section}" for section in ("environment", "labels", "runscript", "test") if not final.lines(section)]
    for fault in faults:
        print(f"{path}: {fault}", file=sys.stderr)
    return 1 if faults else 0


def main(path, command, *arguments):
    if command == "check":
        return check(path, *arguments)
    stage = read(path)[arguments[0]]
    if command == "script":
        print(stage.script(arguments[1]))
    elif command == "files":
        print("\n".join("\t".join(entry) for entry in stage.files()))
    else:
        raise SystemExit(f"definition.py: unknown command '{command}' (see its head)")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
