"""Checks that the steps of the image file do what they say, without running them.

    image.py CONTAINERFILE CONTEXT METADATA.json BASE.yaml

CONTEXT is the folder that the build would get, METADATA what `cargo metadata` says of it, BASE the rendered base.
"""

import json
import pathlib
import re
import sys

import yaml


def main(containerfile, context, metadata, base):
    text = pathlib.Path(containerfile).read_text().replace("\\\n", " ")
    metadata = json.loads(pathlib.Path(metadata).read_text())
    members = [package for package in metadata["packages"] if package["id"] in metadata["workspace_members"]]
    binaries = {target["name"] for package in members for target in package["targets"] if "bin" in target["kind"]}
    objects = [item for item in yaml.safe_load_all(pathlib.Path(base).read_text()) if item]
    pod = next(item for item in objects if item["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    faults = []

    def require(holds, fault):
        if not holds:
            faults.append(fault)

    built = set(re.findall(r"--bin (\S+)", text))
    require(built <= binaries, f"cargo builds no {built - binaries}, but {binaries}")
    copied = set(re.findall(r"/out/(\w+)", text))
    require(copied == built, f"copies {copied} of what it builds, {built}")
    for path in re.findall(r"COPY --from=build /src/(\S+)", text):
        require(pathlib.Path(context, path).is_file(), f"{path} is not in the context")
    versions = {package["version"] for package in members}
    require(
        {re.search(r"ARG VERSION=(\S+)", text)[1]} == versions, f"VERSION is not the one of the workspace, {versions}"
    )
    wanted = {package["rust_version"] for package in members}
    require({re.search(r"rust:([\d.]+)-", text)[1]} == wanted, f"the builder is not Rust {wanted}")
    user = re.search(r"USER (\d+):(\d+)", text).groups()
    context = pod["securityContext"]
    require(user == (str(context["runAsUser"]), str(context["runAsGroup"])), f"USER {user} is not the one of the pod")
    ports = {str(port["containerPort"]) for port in pod["containers"][0]["ports"]}
    require(set(re.search(r"EXPOSE (.+)", text)[1].split()) == ports, f"EXPOSE is not {ports}")
    for fault in faults:
        print(f"image: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
