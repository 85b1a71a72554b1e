"""The Kubernetes manifests render, are valid, and hold what the house has promised of them."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.processes import BIN

BASE = Path(__file__).parent.parent.parent / "deploy" / "k8s" / "base"
KUBERNETES = ("1.32", "1.37")


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    rendered = subprocess.run([str(BIN / "kubectl"), "kustomize", str(BASE)], check=True, capture_output=True)
    return list(yaml.safe_load_all(rendered.stdout))


def workloads(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {doc["metadata"]["name"]: doc for doc in documents if doc["kind"] in ("Deployment", "StatefulSet")}


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_document_is_valid(documents: list[dict[str, Any]], version: str) -> None:
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_every_pod_is_careful(documents: list[dict[str, Any]]) -> None:
    found = workloads(documents)
    assert set(found) == {"virtlease-session", "virtlease-pool", "virtlease-gateway"}
    for workload in found.values():
        pod = workload["spec"]["template"]["spec"]
        assert pod["enableServiceLinks"] is False  # their variables would be taken for settings
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "resources"} <= set(container)


def test_services_find_their_pods(documents: list[dict[str, Any]]) -> None:
    pods = {
        workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]: {
            port["name"] for port in workload["spec"]["template"]["spec"]["containers"][0]["ports"]
        }
        for workload in workloads(documents).values()
    }
    services = {doc["metadata"]["name"]: doc["spec"] for doc in documents if doc["kind"] == "Service"}
    for spec in services.values():
        ports = pods[spec["selector"]["app.kubernetes.io/name"]]
        assert all(port["targetPort"] in ports for port in spec["ports"])
    # A draining replica's leases stay reachable, and new work does not go there
    assert services["virtlease-pool-replicas"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in services["virtlease-pool"]


def test_the_settings_are_settings(documents: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from virtlease_chassis.settings import ProcessSettings, SettingsError, load
    from virtlease_gateway.settings import GatewaySettings
    from virtlease_pool.settings import PoolSettings
    from virtlease_session.settings import SessionSettings

    (settings,) = [doc["data"] for doc in documents if doc["metadata"]["name"].startswith("virtlease-settings")]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:  # the files are not on this machine
        load(ProcessSettings, SessionSettings, PoolSettings, GatewaySettings)
    assert all("does not point to a file" in fault for fault in caught.value.faults)


def test_sessions_in_redis_have_replicas() -> None:
    rendered = subprocess.run([str(BIN / "kubectl"), "kustomize", str(BASE.parent / "redis")], capture_output=True)
    documents = list(yaml.safe_load_all(rendered.stdout))
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)
    session = workloads(documents)["virtlease-session"]["spec"]
    assert session["replicas"] == 2
    assert session["strategy"]["type"] == "RollingUpdate"
    (variable,) = session["template"]["spec"]["containers"][0]["env"]
    assert variable["name"] == "VIRTLEASE_SESSION_REDIS_URL"


def test_no_workload_has_more_replicas_than_its_state_allows(documents: list[dict[str, Any]]) -> None:
    assert {name: found["spec"]["replicas"] for name, found in workloads(documents).items()} == {
        "virtlease-session": 1,
        "virtlease-pool": 1,
        "virtlease-gateway": 1,
    }
