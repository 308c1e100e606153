"""The engine under faults: a workload, what breaks it, and the proof that nothing was lost or done twice.

`holdfast chaos` runs it. A run has engines and workers of its own, injects faults at random times drawn from
a seed, waits for quiet, and then reads what happened from PostgreSQL (`holdfast.chaos.history`) and from a
server outside it that counts paid calls (`holdfast.chaos.provider`).
"""
