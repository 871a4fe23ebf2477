"""The StatefulSet of inkpotd, against the settings that it gets; a part of check.py."""

import pathlib
import re
import subprocess
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Names of the health service: the process, and writing as a whole.
HEALTH_SERVICES = {"", "inkpot.v1.WriteService"}
# Variables of the OpenTelemetry specification that the server takes.
OTEL_VARIABLES = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
}
# What a busy session may take beside its payload: HTTP/2 windows and messages in hand (README, Limits).
SESSION_BYTES = 8 << 20
# Seconds that the kubelet leaves beyond the stages of a stop.
GRACE_MARGIN = 10
UNITS = {
    "": 1,
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}


def size(text):
    """Bytes of a size as our settings ("64MiB") and Kubernetes ("64Mi") write it."""
    number, unit = re.fullmatch(r"(\d+)(\w*)", str(text)).groups()
    return int(number) * UNITS[unit]


def seconds(text):
    """Seconds of a duration of whole units, such as "1m 30s"."""
    factors = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(int(number) * factors[unit] for number, unit in re.findall(r"(\d+)(ms|s|m|h)", text))


def flatten(table, below=""):
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{below}{name}.")
        else:
            yield below + name, value


class Server:
    """The StatefulSet of inkpotd, against the settings that it gets."""

    def __init__(self, manifests, stateful):
        self.all = manifests
        self.require = manifests.require
        self.spec = stateful["spec"]
        self.pod = self.spec["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.name = stateful["metadata"]["name"]
        self.mounts = {mount["mountPath"]: mount for mount in self.container["volumeMounts"]}
        self.volumes = {volume["name"]: volume for volume in self.pod.get("volumes", [])}
        self.claims = {claim["metadata"]["name"]: claim for claim in self.spec.get("volumeClaimTemplates") or []}

    def check(self):
        toml = self.settings_file()
        if toml is None:
            return
        settings = self.settings(toml)
        if settings is None:
            return
        self.environment(settings)
        self.network(settings)
        self.times(settings)
        self.room(settings)
        self.files(settings)
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        self.require(
            self.container["image"].endswith(f":{version}"), f"image {self.container['image']} is not of {version}"
        )

    def settings_file(self):
        """The text of the settings, found the way the pod finds it: argument, mount, ConfigMap, key."""
        args = self.container.get("args", [])
        path = pathlib.PurePosixPath(args[args.index("--config") + 1])
        mount = self.mounts.get(str(path.parent))
        volume = self.volumes.get(mount["name"], {}) if mount else {}
        config = self.all.named("ConfigMap", volume.get("configMap", {}).get("name"))
        found = config["data"].get(path.name) if config else None
        self.require(found, f"no settings at {path}")
        return found

    def settings(self, text):
        """The effective settings; that each key of the file is one of them is the point."""
        given = dict(flatten(tomllib.loads(text)))
        with tempfile.TemporaryDirectory() as folder:
            text = self.with_token_files(given, text, pathlib.Path(folder))
            file = pathlib.Path(folder, "inkpot.toml")
            file.write_text(text)
            checked = self.run("--check-config", "--config", file)
            self.require(checked.returncode == 0, f"--check-config: {checked.stderr.strip()}")
            dumped = self.run("--dump-config", "--config", file)
            if checked.returncode or dumped.returncode:
                return None
        settings = dict(flatten(tomllib.loads(dumped.stdout)))
        # "# files.owner is not set" is a setting too.
        settings.update(self.unset(dumped.stdout))
        for key, value in given.items():
            # Tokens stand in the dump as hashes.
            key = key.replace(".token_files", ".token_sha256")
            self.require(key in settings, f"{key} is not in --dump-config")
            if not key.endswith(".token_sha256"):
                self.require(
                    settings.get(key) == value, f"{key} is {value!r}, and takes effect as {settings.get(key)!r}"
                )
        development = not any(key.endswith(".token_sha256") for key in settings)
        remote = settings["allow_remote_without_token"]
        self.require(remote == (self.all.name == "dev"), "only the overlay dev may do without tokens")
        self.require(development == remote, "allow_remote_without_token contradicts the tokens")
        return settings

    def with_token_files(self, given, text, folder):
        """Puts made-up tokens where the Secret would be mounted, so that the server can read them."""
        files = [file for key, value in given.items() if key.endswith(".token_files") for file in value]
        for number, file in enumerate(files):
            path = pathlib.PurePosixPath(file)
            volume = self.volumes.get(self.mounts.get(str(path.parent), {}).get("name"), {})
            self.require("secret" in volume, f"token file {path} does not lie in a mounted Secret")
            (folder / f"token-{number}").write_text(f"made-up-for-the-test-{number}")
            text = text.replace(str(path), str(folder / f"token-{number}"))
        return text

    def unset(self, dump):
        table = ""
        for line in dump.splitlines():
            if head := re.fullmatch(r"\[(.+)\]", line):
                table = head[1] + "."
            elif comment := re.fullmatch(r"# (\w+) is not set", line):
                yield table + comment[1], None

    def run(self, *args):
        # Without variables, so that none of this shell takes effect.
        return subprocess.run([self.all.inkpotd, *args], env={}, capture_output=True, text=True, check=False)

    def environment(self, settings):
        for variable in self.container.get("env", []):
            name = variable["name"]
            if name.startswith("INKPOT_"):
                key = name.removeprefix("INKPOT_").lower().replace("__", ".")
                self.require(key in settings, f"variable {name} is no setting")
            elif name.startswith("OTEL_"):
                self.require(name in OTEL_VARIABLES, f"variable {name} is not one that the server takes")
            if name == "OTEL_EXPORTER_OTLP_ENDPOINT":
                self.endpoint(variable["value"])

    def endpoint(self, url):
        host, port = re.fullmatch(r"http://([\w-]+):(\d+)", url).groups()
        service = self.all.named("Service", host)
        ports = [item["port"] for item in service["spec"]["ports"]] if service else []
        self.require(int(port) in ports, f"no Service takes telemetry at {url}")

    def network(self, settings):
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        for name, key in (("grpc", "listen"), ("metrics", "telemetry.metrics_listen")):
            host, _, port = str(settings.get(key)).rpartition(":")
            self.require(
                host == "0.0.0.0" and port == str(ports.get(name)),
                f"{key} is {settings.get(key)}, the port {name} {ports.get(name)}",
            )
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = self.container[kind]["grpc"]
            self.require(probe["port"] == ports["grpc"], f"{kind} asks port {probe['port']}")
            self.require(probe["service"] in HEALTH_SERVICES, f"{kind} asks for {probe['service']!r}, which nobody is")
            alive = kind == "readinessProbe" or probe["service"] == ""
            self.require(alive, f"{kind} would restart the pod for a closed shard")
        headless = self.all.named("Service", self.spec["serviceName"])
        self.require(headless and headless["spec"].get("clusterIP") == "None", "serviceName is no headless Service")
        for service in self.all.of("Service"):
            if service["spec"]["selector"].items() <= self.spec["template"]["metadata"]["labels"].items():
                self.require(
                    service["spec"].get("publishNotReadyAddresses"), "a Service leaves out pods that are not ready"
                )

    def times(self, settings):
        stages = seconds(settings["shutdown.drain"]) + seconds(settings["shutdown.close"])
        grace = self.pod.get("terminationGracePeriodSeconds", 30)
        self.require(
            grace >= stages + GRACE_MARGIN,
            f"grace of {grace} s for stages of {stages:g} s and a margin of {GRACE_MARGIN} s",
        )

    def room(self, settings):
        shards = settings["shards"]
        busy = (
            size(settings["memory.writes_bytes"])
            + shards * size(settings["apply.budget_bytes"])
            + settings["limits.sessions"] * SESSION_BYTES
        )
        limit = size(self.container["resources"]["limits"]["memory"])
        self.require(limit >= busy, f"memory limit {limit >> 20} MiB, the settings allow {busy >> 20} MiB")
        logs = 2 * shards * size(settings["wal.max_bytes"])
        data = self.mount_of(settings["data_dir"])
        claim = self.claims.get(data["name"]) if data else None
        volume = self.volumes.get(data["name"], {}) if data else {}
        room = (
            claim["spec"]["resources"]["requests"]["storage"]
            if claim
            else volume.get("emptyDir", {}).get("sizeLimit", "0")
        )
        self.require(size(room) > logs, f"a volume of {room} for logs of {logs >> 21} MiB, twice which is wanted")

    def mount_of(self, path):
        above = [str(parent) for parent in pathlib.PurePosixPath(path).parents]
        return next((self.mounts[parent] for parent in above if parent in self.mounts), None)

    def files(self, settings):
        """The data folder is writable and its own; a reader of the same group reads it and changes nothing."""
        data = self.mount_of(settings["data_dir"])
        self.require(
            data and not data.get("readOnly"), f"data_dir {settings['data_dir']} does not lie below a writable mount"
        )
        context = self.pod["securityContext"]
        self.require(
            context.get("fsGroup") == context.get("runAsGroup"), "the volume belongs to another group than the server"
        )
        self.require(
            context.get("fsGroupChangePolicy") == "OnRootMismatch", "the kubelet would change the modes of all files"
        )
        file_mode, dir_mode = int(settings["files.file_mode"], 8), int(settings["files.dir_mode"], 8)
        self.require(file_mode & 0o060 == 0o040 and dir_mode & 0o070 == 0o050, "the group must read, and not write")
