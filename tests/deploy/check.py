"""Checks rendered manifests against the server that they start: settings, ports, probes, times, memory, rights.

    check.py INKPOTD RENDERED.yaml...

Each file is one rendered kustomization. What a schema can tell is not looked at here. Prints each fault; status 1 if
there is one.
"""

import pathlib
import sys

import yaml

from server import Server, flatten


class Manifests:
    """The objects of one rendered kustomization, and what is wrong with them."""

    def __init__(self, path, inkpotd):
        self.name = pathlib.Path(path).stem
        self.inkpotd = inkpotd
        self.objects = [item for item in yaml.safe_load_all(pathlib.Path(path).read_text()) if item]
        self.faults = []

    def require(self, holds, fault):
        if not holds:
            self.faults.append(f"{self.name}: {fault}")

    def of(self, kind):
        return [item for item in self.objects if item["kind"] == kind]

    def named(self, kind, name):
        return next((item for item in self.of(kind) if item["metadata"]["name"] == name), None)

    def check(self):
        self.require(not self.of("Secret"), "a Secret stands in the manifests; secrets are made by hand")
        for workload in self.of("StatefulSet") + self.of("Deployment"):
            self.pod(workload)
        for service in self.of("Service"):
            self.service(service)
        for item in self.of("PodDisruptionBudget"):
            self.selects(item["spec"]["selector"]["matchLabels"], "the PodDisruptionBudget")
        for item in self.of("NetworkPolicy"):
            self.selects(item["spec"]["podSelector"]["matchLabels"], "the NetworkPolicy")
        for stateful in self.of("StatefulSet"):
            Server(self, stateful).check()
        for config in self.of("ConfigMap"):
            if "config.yaml" in config["data"]:
                self.collector(yaml.safe_load(config["data"]["config.yaml"]))
        return self.faults

    def pod(self, workload):
        """What every pod has, whatever runs in it."""
        where = f"{workload['kind']} {workload['metadata']['name']}"
        spec = workload["spec"]["template"]["spec"]
        context = spec.get("securityContext", {})
        self.require(
            context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0, f"{where} may run as root"
        )
        self.require(context.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{where} has no seccomp profile")
        self.require(spec.get("automountServiceAccountToken") is False, f"{where} gets a token of the API server")
        self.require(not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), f"{where} uses namespaces of the node")
        labels = workload["spec"]["template"]["metadata"]["labels"]
        self.require(workload["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{where} misses its pods")
        for volume in spec.get("volumes", []):
            self.volume(where, volume)
        for container in spec["containers"]:
            self.container(where, container)

    def volume(self, where, volume):
        self.require("hostPath" not in volume, f"{where} mounts a folder of the node")
        for kind, readers in (("configMap", 0o444), ("secret", 0o440)):
            mode = volume.get(kind, {}).get("defaultMode", readers)
            self.require(mode == readers, f"{where}: volume {volume['name']} has mode {mode:04o}, not {readers:04o}")
        if "configMap" in volume:
            name = volume["configMap"]["name"]
            self.require(self.named("ConfigMap", name), f"{where} mounts ConfigMap {name}, which is not there")

    def container(self, where, container):
        context = container.get("securityContext", {})
        safe = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        for key, value in safe.items():
            self.require(
                context.get(key) == value, f"{where}: securityContext.{key} of {container['name']} is not {value}"
            )
        resources = container.get("resources", {})
        for kind, resource in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            self.require(resource in resources.get(kind, {}), f"{where}: no {kind}.{resource} for {container['name']}")
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        self.require(tag not in ("", "latest"), f"{where}: image {container['image']} has no version")

    def selects(self, labels, what):
        pods = [
            item["spec"]["template"]["metadata"]["labels"] for item in self.of("StatefulSet") + self.of("Deployment")
        ]
        self.require(any(labels.items() <= pod.items() for pod in pods), f"{what} selects no pod")

    def service(self, service):
        name = f"Service {service['metadata']['name']}"
        selector = service["spec"]["selector"]
        self.selects(selector, name)
        for workload in self.of("StatefulSet") + self.of("Deployment"):
            template = workload["spec"]["template"]
            if selector.items() <= template["metadata"]["labels"].items():
                ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
                for port in service["spec"]["ports"]:
                    self.require(
                        ports.get(port["targetPort"]) == port["port"], f"{name}: port {port['name']} leads nowhere"
                    )

    def collector(self, config):
        """Each component of a pipeline is defined, each one is used, each listener is a port of the container."""
        used = {
            "extensions": set(config["service"]["extensions"]),
            "receivers": set(),
            "processors": set(),
            "exporters": set(),
        }
        for pipeline in config["service"]["pipelines"].values():
            for kind, names in pipeline.items():
                used[kind] |= set(names)
        for kind, names in used.items():
            self.require(
                names == set(config[kind]), f"collector: {kind} defined and used differ: {names ^ set(config[kind])}"
            )
        self.require(
            set(config["service"]["pipelines"]) == {"traces", "metrics", "logs"}, "collector: a signal is missing"
        )
        container = self.named("Deployment", "otel-collector")["spec"]["template"]["spec"]["containers"][0]
        listens = {int(value.rpartition(":")[2]) for key, value in flatten(config) if key.endswith(".endpoint")}
        ports = {port["containerPort"] for port in container["ports"]}
        self.require(listens == ports, f"collector: listens on {sorted(listens)}, the container says {sorted(ports)}")


def reader(path, server):
    """The example of a reader, beside the base."""
    manifests = Manifests(path, None)
    faults = manifests.check()
    stateful = Manifests(server, None).of("StatefulSet")[0]
    pod = manifests.of("Deployment")[0]["spec"]["template"]["spec"]
    context, writer = pod["securityContext"], stateful["spec"]["template"]["spec"]["securityContext"]
    manifests.require(
        context["supplementalGroups"] == [writer["fsGroup"]], "the reader is not of the group of the files"
    )
    manifests.require(
        context["runAsUser"] != writer["runAsUser"] and "fsGroup" not in context, "the reader could write"
    )
    mount = pod["containers"][0]["volumeMounts"][0]
    manifests.require(
        mount.get("readOnly") and "subPath" not in mount, "the reader mounts more than to read, or a subPath"
    )
    claim = f"{stateful['spec']['volumeClaimTemplates'][0]['metadata']['name']}-{stateful['metadata']['name']}-0"
    found = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    manifests.require(found == claim, f"the reader mounts {found}, the server {claim}")
    near = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    on_node = (
        near["topologyKey"] == "kubernetes.io/hostname"
        and near["labelSelector"]["matchLabels"].items() <= labels.items()
    )
    manifests.require(on_node, "the reader may land on another node")
    return faults


def main(inkpotd, *files):
    faults = []
    for file in files:
        if pathlib.Path(file).stem == "reader-example":
            faults += reader(file, pathlib.Path(file).with_name("base.yaml"))
        else:
            faults += Manifests(file, inkpotd).check()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
