"""The files of docs/deploy: that they fit the command line, each other, Kubernetes, KubeRay and Slurm."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.cli import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
SCRIPT = DEPLOY / "slurm.sbatch"
FIELDS = {  # of KubeRay 1.6: ray-operator/apis/ray/v1/rayjob_types.go and raycluster_types.go
    "RayJobSpec": """activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector
        submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources
        entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend""",
    "RayClusterSpec": """upgradeStrategy authOptions suspend managedBy autoscalerOptions headServiceAnnotations
        enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec rayVersion workerGroupSpecs""",
    "AuthOptions": "enableK8sTokenAuth secretName mode",
    "SubmitterConfig": "backoffLimit",
    "AutoscalerOptions": """resources image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode version env
        envFrom volumeMounts command args""",
    "HeadGroupSpec": "template headService enableIngress resources labels rayStartParams serviceType",
    "WorkerGroupSpec": """suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds resources labels
        rayStartParams template scaleStrategy numOfHosts""",
}


@pytest.fixture(scope="module")
def documents() -> Mapping[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text())}


@pytest.fixture(scope="module")
def cluster(documents: Mapping[str, Any]) -> Any:
    return documents["RayJob"]["spec"]["rayClusterSpec"]


@pytest.fixture(scope="module")
def pods(cluster: Any) -> Mapping[str, Any]:
    groups = {"head": cluster["headGroupSpec"]} | {each["groupName"]: each for each in cluster["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in groups.items()}


def require_options(command: str) -> None:
    """Raise what Click raises for a command of `pipeline` that does not exist so."""
    name, *arguments = shlex.split(command)[1:]
    cli.commands[name].make_context(name, arguments)


def commands_in(markdown: str) -> Iterator[str]:
    for block in re.findall(r"```bash\n(.*?)```", markdown, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(r"(?:^|&& )(pipeline [a-z].*?)(?:\s+#.*)?$", line):
                yield found[1]


def test_the_commands_of_the_page_exist() -> None:
    commands = list(commands_in((ROOT / "docs" / "scaling.md").read_text()))
    assert len(commands) == 6
    for command in commands:
        require_options(command)


def test_ray_job(documents: Mapping[str, Any], cluster: Any) -> None:
    job = documents["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    pieces = {
        "RayJobSpec": [job["spec"]],
        "SubmitterConfig": [job["spec"]["submitterConfig"]],
        "RayClusterSpec": [cluster],
        "AuthOptions": [cluster["authOptions"]],
        "AutoscalerOptions": [cluster["autoscalerOptions"]],
        "HeadGroupSpec": [cluster["headGroupSpec"]],
        "WorkerGroupSpec": cluster["workerGroupSpecs"],
    }
    for kind, found in pieces.items():
        for each in found:
            assert set(each) <= set(FIELDS[kind].split()), kind
    assert all(isinstance(value, str) for value in cluster["headGroupSpec"]["rayStartParams"].values())
    for group in cluster["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_what_the_job_runs_exists(documents: Mapping[str, Any]) -> None:
    shell, option, script = shlex.split(documents["RayJob"]["spec"]["entrypoint"])
    assert (shell, option) == ("sh", "-c")
    enter, command = script.split(" && exec ")
    assert enter == "cd /suite"
    require_options(command)


def test_versions_and_image_agree(cluster: Any, pods: Mapping[str, Any]) -> None:
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    (image,) = {container["image"] for pod in pods.values() for container in pod["containers"]}
    assert f"-t {image} ." in (DEPLOY / "Dockerfile").read_text()


def test_volumes(documents: Mapping[str, Any], pods: Mapping[str, Any]) -> None:
    for pod in pods.values():
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    (work,) = pods["head"]["volumes"]
    assert work["persistentVolumeClaim"]["claimName"] == documents["PersistentVolumeClaim"]["metadata"]["name"]
    (container,) = pods["gpu"]["containers"]
    (mount,) = container["volumeMounts"]
    assert {"name": "GAN_NODE_DIRECTORY", "value": mount["mountPath"]} in container["env"]


def test_pods_may_do_no_more_than_they_must(pods: Mapping[str, Any]) -> None:
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["restartPolicy"] == "Never"
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys()
    assert "envFrom" not in pods["gpu"]["containers"][0]  # the head gives cells what they need


def test_kubernetes_would_take_them(documents: Mapping[str, Any], pods: Mapping[str, Any]) -> None:
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(documents["PersistentVolumeClaim"], version, strict=True)
    for name, pod in pods.items():
        content = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}
        kubernetes_validate.validate(content, version, strict=True)
        damaged = content | {"spec": pod | {"containers": [{"nane": "x"}]}}
        with pytest.raises(kubernetes_validate.ValidationError):  # it looks into the containers
            kubernetes_validate.validate(damaged, version, strict=True)


def test_the_image_has_what_it_needs() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    assert "'ray[default]'" in text  # else KubeRay cannot submit the job


def test_the_script_is_bash() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, SCRIPT], check=True)


FAKES = {  # of Slurm, Ray and this project: they note what they were asked for
    "scontrol": '[ "$1" = show ] && echo node1 && exit; echo "scontrol $*" >> "$NOTES"',
    "hostname": "echo 10.0.0.1 10.0.0.2",
    "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    "ray": 'echo "ray $*" >> "$NOTES"; while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "pipeline": 'trap "exit 130" TERM; echo "$$ pipeline $*" >> "$NOTES"; for _ in $(seq "$PARTS"); do sleep 0.1; done',
}


@pytest.fixture
def job(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a job on one node, with programs that only note what they are called with."""
    (tmp_path / "bin").mkdir()
    for name, text in FAKES.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)
    (tmp_path / "bin" / "activate").write_text("")
    (tmp_path / "settings").write_text("MLFLOW_TRACKING_URI=http://127.0.0.1:1\n")
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path), "USER": "someone",
        "NOTES": str(tmp_path / "notes"), "PARTS": "0", "GAN_VENV": str(tmp_path),
        "GAN_SETTINGS": str(tmp_path / "settings"), "SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "4",
    }  # fmt: skip


def notes(job: Mapping[str, str]) -> list[str]:
    file = Path(job["NOTES"])
    return file.read_text().splitlines() if file.exists() else []


def test_the_script_starts_ray_and_the_suite(job: Mapping[str, str], tmp_path: Path) -> None:
    subprocess.run(["bash", SCRIPT, "reports", "--data", "my faces"], env=job, cwd=tmp_path, check=True, timeout=60)
    ray, suite = notes(job)
    assert ray.startswith(
        "ray symmetric-run --address 10.0.0.1:22345 --min-nodes 2 --num-cpus 8 --num-gpus 4 --disable-usage-stats -- "
    )
    assert suite.partition(" ")[2] == (
        "pipeline run reports --data my faces --address 10.0.0.1:22345 --executor ray --no-ship"
    )
    require_options("pipeline run reports --data faces --address 10.0.0.1:22345 --executor ray --no-ship")
    assert not list(tmp_path.glob(".gan-benchmark-*"))


def test_before_the_time_is_over_the_suite_stops_and_the_job_queues_again(
    job: Mapping[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen(["bash", SCRIPT, "reports"], env={**job, "PARTS": "600"}, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while len(notes(job)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 130
    assert notes(job)[-1] == "scontrol requeue 12345"


def test_a_suite_that_fails_is_not_queued_again(job: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "pipeline").write_text("#!/bin/bash\nexit 1\n")
    assert subprocess.run(["bash", SCRIPT, "reports"], env=job, cwd=tmp_path, timeout=60).returncode == 1
    assert not any("requeue" in note for note in notes(job))
