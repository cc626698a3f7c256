"""A pod of deploy/kubernetes as processes: its volumes as folders, its containers with their own arguments.

with Pod(folder, spec, config_maps, secrets, moved) as pod:
    pod.update("authz", {"policy.yaml": text})      as the kubelet exchanges the files of a ConfigMap

Every path of a container becomes the folder of its volume, and `moved` replaces what else must differ here: ports, and
names of other machines. Each of its words must occur. Airflow's own containers are left out.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from tests.e2e.envoy_harness import newest, wait_for
from tests.support.manifests import containers, is_envoy, is_gate


class Pod:
    """Starts as a pod does: init containers one by one, a sidecar runs on before the next one begins."""

    def __init__(self, folder, spec, config_maps, secrets, moved):
        self.folder = folder
        self.logs = []
        self._spec = spec
        self._running = contextlib.ExitStack()
        self._versions = {}
        ours = [one for one in containers(spec) if is_gate(one) or is_envoy(one)]
        self._containers = ours
        mounts = {mount["mountPath"]: mount["name"] for one in ours for mount in one["volumeMounts"]}
        self.places = {path: folder / name for path, name in mounts.items()}
        self._moved = moved
        for volume in spec["volumes"]:
            self._make(volume, config_maps, secrets)
        made = "".join(path.read_text() for path in folder.glob("*/..data/*") if path.is_file())
        assert [new for new in moved.values() if new not in made] == []

    def _make(self, volume, config_maps, secrets):
        place = self.folder / volume["name"]
        match volume:
            case {"projected": {"sources": sources}}:
                files = {}
                for source in sources:
                    if "configMap" in source:
                        files |= config_maps[source["configMap"]["name"]]
                    elif "secret" in source:
                        files |= secrets.get(source["secret"]["name"], {})
                    else:
                        token = source["serviceAccountToken"]
                        files[token["path"]] = secrets[f"token for {token['audience']}"]
                self._mount(place, files)
            case {"secret": {"secretName": name} as secret}:
                found = secrets.get(name)
                assert found is not None or secret["optional"]
                wanted = [item["key"] for item in secret.get("items", ())]
                self._mount(place, {key: text for key, text in (found or {}).items() if not wanted or key in wanted})
            case {"emptyDir": _}:
                place.mkdir()
                place.chmod(0o2777)  # as the kubelet makes it for an `fsGroup`

    def _mount(self, place, files):
        """`k8s.io/kubernetes/pkg/volume/util.AtomicWriter` lays them out so."""
        place.mkdir()
        self._version(place, files)
        for name in files:
            (place / name).symlink_to(f"..data/{name}")

    def _version(self, place, files):
        number = self._versions[place] = self._versions.get(place, 0) + 1
        version = place / f"..{number}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(self.here(text))
        (place / "..data_tmp").symlink_to(version.name)
        (place / "..data_tmp").rename(place / "..data")

    def update(self, volume, files):
        """`kubectl apply`: a new folder, one rename, and the old folder is deleted."""
        place = self.folder / volume
        old = (place / "..data").resolve()
        kept = {path.name: path.read_text() for path in old.iterdir()}
        self._version(place, kept | files)
        shutil.rmtree(old)

    def here(self, text):
        """The text with this machine's paths, ports and names."""
        for word, new in self._moved.items():
            text = text.replace(word, new)
        for path in sorted(self.places, key=len, reverse=True):
            text = text.replace(path, str(self.places[path]))
        return text

    def __enter__(self):
        with contextlib.ExitStack() as starting:
            for container in self._containers:
                program = newest() if is_envoy(container) else Path(sys.executable).with_name("authz")
                command = [program, *map(self.here, container["args"])]
                is_init = container in self._spec["initContainers"] and container.get("restartPolicy") != "Always"
                if is_init:
                    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                    assert done.returncode == 0, done.stderr
                else:
                    starting.enter_context(self._started(command, container["name"]))
                    if probe := container.get("startupProbe"):
                        self.until(lambda probe=probe, one=container: self._passes(probe, one), "it does not start")
            self._running = starting.pop_all()
        return self

    @contextlib.contextmanager
    def _started(self, command, name):
        path = self.folder / f"{name}.log"
        self.logs.append(path)
        with path.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        try:
            yield
        finally:
            process.kill()  # how a gate ends is tested where it matters; here it would cost seconds
            process.wait()

    def _passes(self, probe, container):
        """As the kubelet probes, at the address of this machine that the port has become."""
        asked = probe.get("httpGet") or probe["tcpSocket"]
        numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
        address = self._moved[f"0.0.0.0:{numbers.get(asked['port'], asked['port'])}"]
        try:
            if "path" in asked:
                return httpx.get(f"http://{address}{asked['path']}").status_code == 200
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port))):
                return True
        except (httpx.TransportError, OSError):
            return False

    def __exit__(self, *_):
        self._running.close()

    def until(self, check, what):
        def said():
            return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.logs)

        try:
            wait_for(check, what, pause=_pause)
        except AssertionError as error:
            error.add_note(said())
            raise


def _pause(seconds):
    threading.Event().wait(seconds)
