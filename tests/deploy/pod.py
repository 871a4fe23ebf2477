"""Runs inkpotd as the StatefulSet of the rendered base would: its arguments and settings, its user, group and rights, a
read-only root, a volume as the kubelet leaves it. Needs root, and no container engine.

    pod.py BASE.yaml INKPOTD INKPOT

Then: its probes are answered, a write with the token arrives, one without is refused, a reader of the same group reads
the plain file and cannot change it, one of another group cannot read, and SIGTERM ends it in order.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import grpc
import yaml

# For glibc and libgcc, which the image has, and setpriv, which it has not: from this machine, to be read only.
FOLDERS = ("/lib", "/lib64", "/usr/bin")
STARTS_WITHIN = 30
SERVING = b"\x08\x01"


class Pod:
    """The scratch root of a container, in a mount namespace of its own."""

    def __init__(self, stateful, settings, folder, inkpotd):
        spec = stateful["spec"]["template"]["spec"]
        self.container = spec["containers"][0]
        self.context = spec["securityContext"]
        self.grace = spec["terminationGracePeriodSeconds"]
        self.port = free_port()
        self.root = folder / "root"
        self.volume = folder / "volume"
        self.token = "made-up-for-the-test-of-the-pod"
        group = self.context["fsGroup"]
        mounts = {mount["name"]: self.root / mount["mountPath"].lstrip("/") for mount in self.container["volumeMounts"]}
        for mount in mounts.values():
            mount.mkdir(parents=True)
        self.data = mounts["data"]
        # Ports of this machine may be taken; all else stays as it is.
        metrics = free_port()
        settings = settings.replace("0.0.0.0:7411", f"127.0.0.1:{self.port}").replace(
            "0.0.0.0:7412", f"127.0.0.1:{metrics}"
        )
        (mounts["config"] / "inkpot.toml").write_text(settings)
        token = mounts["tokens"] / "default"
        token.write_text(self.token)
        shutil.chown(token, 0, group)
        token.chmod(0o440)
        # As the kubelet leaves a volume with fsGroup: root's, writable for the group, which new folders inherit.
        self.volume.mkdir()
        shutil.chown(self.volume, 0, group)
        self.volume.chmod(0o2770)
        (self.volume / "lost+found").mkdir(mode=0o700)
        binary = self.root / "usr/local/bin/inkpotd"
        binary.parent.mkdir(parents=True)
        shutil.copy(inkpotd, binary)
        self.log = folder / "log"

    def start(self):
        """Mounts, then chroot, then `setpriv` gives up everything that the securityContext takes away."""
        drops = self.container["securityContext"]
        assert drops["capabilities"] == {"drop": ["ALL"]} and drops["allowPrivilegeEscalation"] is False
        script = f"""
            set -eu
            mount --bind {self.root} {self.root}
            for folder in {" ".join(FOLDERS)}; do
              [ -d $folder ] || continue
              mkdir -p {self.root}$folder
              mount --bind $folder {self.root}$folder
              mount -o remount,bind,ro {self.root}$folder
            done
            mount --bind {self.volume} {self.data}
            mount -o remount,bind,ro {self.root}
            exec chroot {self.root} /usr/bin/setpriv \
              --reuid {self.context["runAsUser"]} --regid {self.context["runAsGroup"]} \
              --groups {self.context["fsGroup"]} --no-new-privs --bounding-set -all --inh-caps -all \
              /usr/local/bin/inkpotd {" ".join(self.container["args"])}
        """
        # exec all the way: the process that is started is the server.
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def health(self, service):
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check", lambda name: name, lambda answer: answer)
            name = service.encode()
            return check(b"\x0a" + bytes([len(name)]) + name if name else b"", timeout=2) == SERVING

    def wait_for(self, service):
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            require(self.process.poll() is None, f"inkpotd ended with {self.process.poll()}")
            with contextlib.suppress(grpc.RpcError):
                if self.health(service):
                    return
            time.sleep(0.05)
        sys.exit(f"{service!r} is not serving after {STARTS_WITHIN} s")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=self.grace)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def require(holds, fault):
    if not holds:
        sys.exit(f"pod: {fault}")


def as_user(user, group, *command):
    """Runs a command as a reader pod would: another user, with this one supplemental group."""
    rights = ["setpriv", "--reuid", str(user), "--regid", str(user), "--groups", str(group), "--no-new-privs"]
    return subprocess.run([*rights, "--bounding-set", "-all", *command], capture_output=True, check=False)


def has_no_rights(pod):
    """That the trial is what it says: the user of the pod, no capability to be had, a root that cannot be written."""
    status = dict(
        line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pod.process.pid}/status").read_text().splitlines()
    )
    ids = {status["Uid"], status["Gid"]}
    require(ids == {"\t".join([str(pod.context["runAsUser"])] * 4)}, f"inkpotd runs as {ids}")
    for set_of in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        require(int(status[set_of], 16) == 0, f"inkpotd has capabilities: {set_of} {status[set_of]}")
    require(status["NoNewPrivs"] == "1", "inkpotd may gain privileges")
    mounts = [line.split() for line in pathlib.Path(f"/proc/{pod.process.pid}/mountinfo").read_text().splitlines()]
    root = [mount[5] for mount in mounts if mount[4] == "/"]
    require(root and root[-1].startswith("ro"), f"the root is not read-only: {root}")


def writes_with_the_token_only(pod, inkpot):
    append = [inkpot, "--endpoint", f"http://127.0.0.1:{pod.port}", "append", "logs/app.log"]
    text = b"one\ntwo\n"
    done = subprocess.run(append, input=text, env={"INKPOT_TOKEN": pod.token}, capture_output=True, check=False)
    require(done.returncode == 0, f"append failed: {done.stderr.decode()}")
    refused = subprocess.run(append, input=text, env={}, capture_output=True, check=False)
    require(
        refused.returncode == 1, f"append without a token ended with {refused.returncode}: {refused.stderr.decode()}"
    )
    return text


def group_reads_and_writes_nothing(pod, text):
    group = pod.context["fsGroup"]
    file = str(pod.volume / "data/files/default/logs/app.log")
    reader = group + 1
    deadline = time.monotonic() + STARTS_WITHIN
    while as_user(reader, group, "cat", file).stdout != text:
        require(time.monotonic() < deadline, f"the reader does not see {text} in {file}")
        time.sleep(0.05)
    forbidden = {
        "append to the file": f"echo no >>{file}",
        "remove the file": f"rm -f {file}",
        "make a file beside it": f"touch {file}.mine",
        "look at the logs": f"ls {pod.volume}/data/shards",
    }
    for what, command in forbidden.items():
        require(as_user(reader, group, "sh", "-c", command).returncode != 0, f"a reader may {what}")
    require(as_user(reader, reader, "cat", file).returncode != 0, "another group may read the file")
    # What is refused above is possible: for the server.
    own = as_user(pod.context["runAsUser"], group, "sh", "-c", f"test -w {file} && ls {pod.volume}/data/shards")
    require(own.returncode == 0, "the server itself may not")


def main(base, inkpotd, inkpot):
    require(os.geteuid() == 0, "needs root, to become another user")
    objects = [item for item in yaml.safe_load_all(pathlib.Path(base).read_text()) if item]
    stateful = next(item for item in objects if item["kind"] == "StatefulSet")
    settings = next(item["data"]["inkpot.toml"] for item in objects if item["kind"] == "ConfigMap")
    with tempfile.TemporaryDirectory() as folder:
        # Others have to get through to the plain files.
        os.chmod(folder, 0o755)
        pod = Pod(stateful, settings, pathlib.Path(folder), inkpotd)
        pod.start()
        try:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                pod.wait_for(pod.container[probe]["grpc"]["service"])
            has_no_rights(pod)
            text = writes_with_the_token_only(pod, inkpot)
            group_reads_and_writes_nothing(pod, text)
            status = pod.stop()
            require(status == 0, f"inkpotd ended with {status} after SIGTERM")
        except BaseException:
            sys.stderr.write(pod.log.read_text())
            raise
        finally:
            if pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
