"""The faults that a run can draw from, by name."""

from collections.abc import Sequence

from holdfast.chaos import engine_faults as engines
from holdfast.chaos import worker_faults as workers
from holdfast.chaos.fault import Fault, Target
from holdfast.errors import ConfigurationError

FAULTS = (
    Fault(workers.kill_worker, Target.WORKER, weight=6),
    Fault(workers.kill_child, Target.WORKER, weight=4),
    Fault(workers.kill_submitter, Target.SUBMITTER, weight=2),
    Fault(workers.kill_api, Target.API),
    Fault(workers.fill_uploads, Target.API),
    Fault(workers.stop_worker, Target.WORKER, is_outage=True),
    Fault(workers.shift_clock, Target.WORKER),
    Fault(workers.cut_postgres, Target.NETWORK, is_outage=True),
    Fault(workers.cut_valkey, Target.NETWORK, is_outage=True),
    Fault(engines.flush_valkey, Target.VALKEY, is_outage=True),
    Fault(engines.restart_valkey, Target.VALKEY, is_outage=True),
    Fault(engines.empty_valkey, Target.VALKEY, is_outage=True),
    Fault(engines.hang_valkey, Target.VALKEY, is_outage=True),
    Fault(engines.restart_postgres, Target.POSTGRES, is_outage=True),
    Fault(engines.terminate_connections, Target.POSTGRES, is_outage=True),
    Fault(engines.exhaust_connections, Target.POSTGRES, is_outage=True),
    Fault(engines.deliver_again, Target.MESSAGES),
)


def faults_named(names: Sequence[str]) -> tuple[Fault, ...]:
    """These faults; all of them if none is named.

    Raises:
        ConfigurationError: there is none of that name.
    """
    by_name = {fault.name: fault for fault in FAULTS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ConfigurationError(f"There is no fault {', '.join(unknown)}. There are {', '.join(by_name)}.")
    return tuple(by_name[name] for name in names) or FAULTS
