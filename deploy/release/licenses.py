"""Prints the licenses of everything that is linked into the binary."""

import collections
import html
import json
import pathlib
import re
import subprocess
import sys

TARGET = "x86_64-unknown-linux-gnu"
# Names of files that hold a license or a notice.
NAMES = ("licen", "copying", "copyright", "notice", "unlicense")
# In a crate's directory, and where aws-lc-sys keeps those of the C library.
FOLDERS = (".", "aws-lc")

HEAD = """The binary of grantmint contains the crates below, and Rust's standard library, whose notices
end this file. Statically linked, it also contains the GNU C Library, Copyright the Free Software
Foundation and contributors, under the GNU LGPL 2.1 or later
(https://www.gnu.org/licenses/lgpl-2.1.html): grantmint's sources and `make dist` link it again with
another version of that library.
"""


def printed(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def metadata():
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    return json.loads(printed(*command, f"--filter-platform={TARGET}"))


def linked(meta):
    """The packages that the binary is linked with: neither for tests nor for building alone."""
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    packages = {package["id"]: package for package in meta["packages"]}
    root = next(p["id"] for p in meta["packages"] if p["name"] == "grantmint")
    seen, queue = set(), [root]
    while queue:
        node = nodes[queue.pop()]
        for dependency in node["deps"]:
            package = packages[dependency["pkg"]]
            is_macro = any("proc-macro" in target["kind"] for target in package["targets"])
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_normal and not is_macro and package["id"] not in seen:
                seen.add(package["id"])
                queue.append(package["id"])
    chosen = [packages[one] for one in seen if packages[one]["source"]]
    return sorted(chosen, key=lambda package: (package["name"], package["version"]))


def texts(package):
    """License files of a package by name, those that symbolic links lead to included."""
    folder = pathlib.Path(package["manifest_path"]).parent
    for part in FOLDERS:
        directory = folder / part
        files = sorted(directory.iterdir()) if directory.is_dir() else []
        for file in files:
            if file.is_file() and file.name.lower().startswith(NAMES):
                yield file.read_text(encoding="utf-8", errors="replace").strip()


def standard_library():
    """The notices of Rust's standard library and of its crates: a page of the toolchain, as text."""
    sysroot = pathlib.Path(printed("rustc", "--print", "sysroot").strip())
    page = sysroot / "share/doc/rust/COPYRIGHT-library.html"
    if not page.is_file():
        sys.exit(f"{page} is missing: use a toolchain that rustup installed")
    page = page.read_text(encoding="utf-8")
    _, body = page.split("<body>")
    text = html.unescape(re.sub(r"<[^>]+>", "", body))
    return re.sub(r"\n\s*\n", "\n\n", text).strip()


def print_part(title, text):
    print(f"\n{'=' * 80}\n{title}\n{'=' * 80}\n\n{text}")


def main():
    users, missing = collections.defaultdict(list), []
    print(HEAD)
    for package in linked(metadata()):
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license']}")
        found = list(dict.fromkeys(texts(package)))
        for text in found:
            users[text].append(name)
        if not found:
            missing.append(name)
    if missing:
        names = ", ".join(missing)
        print(f"\nWithout a license file of their own, under the terms named above: {names}")
    for text, names in users.items():
        print_part(", ".join(names), text)
    print_part("Rust's standard library", standard_library())


if __name__ == "__main__":
    sys.exit(main())
