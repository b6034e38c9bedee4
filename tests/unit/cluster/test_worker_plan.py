"""How many workers a cluster has room for."""

from types import SimpleNamespace

import pytest

from mvsa_pipe.cluster.connection import Cluster, WorkerPlan

CPU, BIG, GPU = {"CPU": 4.0}, {"CPU": 6.0}, {"CPU": 8.0, "GPU": 2.0}


def cluster(*machines: dict[str, float]) -> Cluster:
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    dead = {"Alive": False, "Resources": GPU}
    return Cluster(SimpleNamespace(nodes=lambda: [*nodes, dead]), "auto")


@pytest.mark.parametrize(
    ("machines", "device", "wanted", "one_core", "plan"),
    [
        ((CPU, BIG), "auto", 0, False, WorkerPlan(2, 4, 0, 1)),
        ((CPU, BIG), "auto", 3, False, WorkerPlan(3, 2, 0, 2)),
        ((CPU, BIG), "auto", 0, True, WorkerPlan(10, 1, 0, 5)),
        ((CPU,), "auto", 8, False, WorkerPlan(8, 0.5, 0, 8)),
        ((CPU, GPU), "auto", 0, True, WorkerPlan(2, 1, 1, 2)),
        ((CPU, GPU), "cpu", 0, False, WorkerPlan(2, 4, 0, 1)),
        (({"object_store_memory": 1.0},), "auto", 0, True, WorkerPlan(1, 1, 0, 1)),
    ],
)
def test_one_worker_a_gpu_machine_or_core(machines, device, wanted, one_core, plan):
    assert cluster(*machines).plan(device, wanted, one_core=one_core) == plan
