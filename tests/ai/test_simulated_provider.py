import subprocess
import sys

import httpx

import simulated_provider


def test_another_process_can_plan_answers_and_read_the_counters(provider):
    simulation = f"{provider.origin}/simulation"
    httpx.post(simulation, json={"answer": "rate_limited", "times": 2, "retry_after": "1"})
    headers = {"Authorization": f"Bearer {provider.api_key}"}
    asked = {"model": "text-embedding-3-small", "input": ["kelp", "kelp"]}
    statuses = [
        httpx.post(f"{provider.base_url}/embeddings", json=asked, headers=headers).status_code
        for _ in range(3)
    ]
    assert statuses == [429, 429, 200]
    counters = httpx.get(simulation).json()
    assert (counters["calls"], counters["inputs"], counters["repeated_inputs"]) == (3, 2, 1)
    assert httpx.delete(simulation).json()["calls"] == 0


def test_it_runs_as_a_program():
    command = [sys.executable, simulated_provider.__file__, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        base_url = process.stdout.readline().strip()
        counters = httpx.get(base_url.replace("/v1", "/simulation")).json()
        process.terminate()
    assert counters["calls"] == 0
