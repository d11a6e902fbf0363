"""Several servers behind one guard: who gets the next request, who is well, who is left out for a while."""

from __future__ import annotations

from meshward.targets.envoy.projection import GuardView
from meshward.targets.envoy.wire import Json

_EJECTED = "5s"  # the first time; longer each time after, up to the longest
_LONGEST_EJECTED = "30s"
_FAILURES = 3  # in a row
_NEVER_ALL = 99  # percent: of n servers at most n - 1, for every n that a policy can have


def load_balancing() -> Json:
    """The part of a cluster that has a choice of servers.

    Panic (every server is tried, whatever is known of it) begins only when not one is well. Envoy's own 50 % would send
    requests to two that hang beside one that works; and 0 would answer 503 to everybody as soon as the health routes of
    all of them are slow, as they are when all are busy.
    """
    return {
        "lb_policy": "LEAST_REQUEST",  # answers of models differ in length by orders of magnitude
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 1},
            "update_merge_window": "0s",  # else a second more until the workers hear of an illness
        },
        # The default of 3 at a time would refuse most of what a dying server leaves to the others.
        "circuit_breakers": {"thresholds": [{"max_retries": 1024}]},
        "outlier_detection": _OUTLIERS,
    }


# A 500 is a model's answer to a prompt: whoever sends it often must not take servers from others. Only what says that
# nobody is there counts: 502, 503, 504, and connections that fail or break off. Not split by origin: then each
# connection that opens would make up for the one before that broke off, and a server that reads and resets stays in.
_OUTLIERS: Json = {
    "consecutive_gateway_failure": _FAILURES,
    "enforcing_consecutive_gateway_failure": 100,
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
    "interval": "1s",
    "base_ejection_time": _EJECTED,
    "max_ejection_time": _LONGEST_EJECTED,
    "max_ejection_percent": _NEVER_ALL,
    # A health route that answers says little of one that fails: an ejection lasts its time.
    "successful_active_health_check_uneject_host": False,
}


def health_checks(view: GuardView) -> Json:
    """The part of a cluster whose servers have a health route. The request names nobody, and carries no key.

    It goes out by the cluster: no listener, no access log. With one server a failing check cuts nobody off (panic); it
    tells the edge to prefer another version.
    """
    statuses = [{"start": 200, "end": 201}]
    if view.credential:  # who refuses a request for want of the key is there
        statuses += [{"start": 401, "end": 402}, {"start": 403, "end": 404}]
    check: Json = {
        "timeout": "1s",
        "interval": "1s",
        "interval_jitter": "0.5s",
        "no_traffic_interval": "1s",  # else a minute until the first request
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {
            "host": view.dns_name,
            "path": view.health,
            "expected_statuses": statuses,
            "retriable_statuses": [{"start": 500, "end": 600}],  # once is not ill: the threshold counts
        },
    }
    return {"health_checks": [check]}
