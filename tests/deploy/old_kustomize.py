"""Writes a copy of deploy/ that kubectl 1.20 renders, the one in Debian 12: its kustomize calls two fields otherwise.

old_kustomize.py DEPLOY COPY
"""

import pathlib
import shutil
import sys

import yaml


def translate(folder):
    """`resources` that are folders are `bases`, and `patches` with a path are `patchesStrategicMerge`."""
    file = folder / "kustomization.yaml"
    fields = yaml.safe_load(file.read_text())
    resources = fields.pop("resources", [])
    fields["bases"] = [name for name in resources if (folder / name).is_dir()]
    fields["resources"] = [name for name in resources if name not in fields["bases"]]
    fields["patchesStrategicMerge"] = [patch["path"] for patch in fields.pop("patches", [])]
    file.write_text(yaml.safe_dump(fields))


def main(deploy, copy):
    shutil.copytree(deploy, copy, dirs_exist_ok=True)
    for file in pathlib.Path(copy).rglob("kustomization.yaml"):
        translate(file.parent)


if __name__ == "__main__":
    main(*sys.argv[1:])
