"""Sample events of the agent family: what the agent of a trace did, as its own SDK would tell it."""

from collections.abc import Callable, Mapping

from spoolhouse.export.sample_trace import ANSWERS, ERRORS, PLAN, QUESTIONS, TOOLS, Fields, Trace, time_text

AGENT_PER_TRACE = {
    "prompt_call": 2,
    "tool_call": 2,
    "agent_step": 4,
    "error": 1,
    "assertion_failed": 1,
    "hallucination_detected": 1,
    "cost_threshold_exceeded": 1,
    "performance_alert": 1,
}
"""How many events of each type one trace comes with."""

_PROMPTS = (2, 5)
_TOOL_SPANS = (3, 6)
_STEPS = (("plan", "reasoning"), ("look up", "tool_call"), ("check", "validation"), ("answer", "output"))
_STEP_SPANS = (1, 3, 4, 7)


def _head(kind: str, trace: Trace, at: int) -> Fields:
    """Return what every event says, of what happened with span number `at`."""
    random = trace.random
    return {
        "event_id": f"{kind}_{random.getrandbits(96):024x}",
        "project_id": trace.project,
        "run_id": trace.id,
        "timestamp": time_text(trace.starts[at] + trace.lengths[at]),
        "user_id": trace.user,
        "tags": [trace.agent, trace.environment],
        "release": "2026.11.3",
        "env": trace.environment,
        "client": {"hostname": f"agents-{random.randrange(4)}", "sdk_version": "3.2.0", "platform": "linux"},
    }


def _failure(trace: Trace) -> Fields:
    random = trace.random
    return {
        "message": f"{trace.agent} gave up after {random.randrange(1, 4)} attempts",
        "type": random.choice(ERRORS),
        "code": random.choice(("E429", "E503", "E504")),
        "stack": 'Traceback (most recent call last):\n  File "agent.py", line 88, in run',
        "context": {"model": trace.model, "attempt": random.randrange(1, 4)},
    }


def _call(trace: Trace, at: int) -> Fields:
    random = trace.random
    return {
        "tool_name": random.choice(TOOLS),
        "tool_id": f"call_{random.getrandbits(64):016x}",
        "input": {"customer": trace.user, "limit": random.randrange(1, 50)},
        "output": {"found": random.randrange(40)},
        "latency_ms": trace.lengths[at],
        "status": "success",
    }


def _prompt_call(trace: Trace, index: int) -> Fields:
    random = trace.random
    at = _PROMPTS[index]
    failed = trace.failed and index == 1
    tokens = random.randrange(200, 6000), random.randrange(20, 900)
    return {
        **_head("prompt_call", trace, at),
        "prompt": random.choice(QUESTIONS),
        "prompt_template_id": f"{trace.agent}/v{random.randrange(1, 9)}",
        "model": trace.model,
        "model_version": "2026-08-01",
        "tokens_input": tokens[0],
        "tokens_output": 0 if failed else tokens[1],
        "cost_estimate_usd": round(tokens[0] * 2.5e-6 + tokens[1] * 1e-5, 6),
        "response": None if failed else random.choice(ANSWERS),
        "response_metadata": {"finish_reason": "error" if failed else "stop", "system": trace.system},
        "latency_ms": trace.lengths[at],
        "status": "error" if failed else "success",
        **({"error": _failure(trace)} if failed else {}),
        "tool_calls": [_call(trace, at + 1) for _ in range(random.randrange(3))],
    }


def _tool_call(trace: Trace, index: int) -> Fields:
    at = _TOOL_SPANS[index]
    return {**_head("tool_call", trace, at), **_call(trace, at)}


def _agent_step(trace: Trace, index: int) -> Fields:
    name, kind = _STEPS[index]
    at = _STEP_SPANS[index]
    step: Fields = {
        "number": index + 1,
        "name": name,
        "type": kind,
        "input_data": {"from": PLAN[at][0]},
        "output_data": {"next": _STEPS[min(index + 1, 3)][0]},
        "reasoning": f"{trace.agent} does {name!r} next.",
    }
    # Both ways to write a step occur in the wild.
    written: Fields = {"step": step} if trace.flat else {f"step_{key}": value for key, value in step.items()}
    return {**_head("agent_step", trace, at), **written, "latency_ms": trace.lengths[at], "status": "success"}


def _error(trace: Trace, _index: int) -> Fields:
    return {**_head("error", trace, 5), "model": trace.model, "status": "error", "error": _failure(trace)}


def _assertion_failed(trace: Trace, _index: int) -> Fields:
    random = trace.random
    return {
        **_head("assertion_failed", trace, 5),
        "assertion_name": "answer-is-json",
        "assertion_type": random.choice(("response_format", "content_filter", "safety_check", "custom")),
        "assertion_expected": {"type": "object"},
        "assertion_actual": random.choice(ANSWERS),
        "assertion_severity": random.choice(("low", "medium", "high", "critical")),
        "status": "assertion_failed",
    }


def _hallucination_detected(trace: Trace, _index: int) -> Fields:
    random = trace.random
    return {
        **_head("hallucination_detected", trace, 5),
        "model": trace.model,
        "hallucination_detection_method": random.choice(("heuristic", "model_ensemble", "ground_truth_verification")),
        "hallucination_confidence_score": round(random.betavariate(6, 2), 3),
        "hallucination_flagged_content": random.choice(ANSWERS),
        "hallucination_ground_truth": "The warehouse has no record of it.",
        "hallucination_recommendations": ["cite the source", "lower the temperature"],
        "status": "warning",
    }


def _cost_threshold_exceeded(trace: Trace, _index: int) -> Fields:
    return {
        **_head("cost_threshold_exceeded", trace, 0),
        **_alert(trace, "cost_spike", 0.05, 0.4, 60),
        "cost_estimate_usd": 0.07,
    }


def _performance_alert(trace: Trace, _index: int) -> Fields:
    kind = trace.random.choice(("latency_spike", "error_rate_spike", "token_limit"))
    return {**_head("performance_alert", trace, 0), **_alert(trace, kind, 250, 4000, 5), "latency_ms": trace.lengths[0]}


def _alert(trace: Trace, kind: str, threshold: float, most: float, minutes: int) -> Fields:
    return {
        "alert_type": kind,
        "alert_threshold": threshold,
        "alert_actual_value": round(trace.random.uniform(threshold, most), 3),
        "alert_window_minutes": minutes,
        "alert_affected_models": [trace.model],
        "context": {"agent": trace.agent},
        "status": "warning",
    }


AGENT_MAKERS: Mapping[str, Callable[[Trace, int], Fields]] = {
    "prompt_call": _prompt_call,
    "tool_call": _tool_call,
    "agent_step": _agent_step,
    "error": _error,
    "assertion_failed": _assertion_failed,
    "hallucination_detected": _hallucination_detected,
    "cost_threshold_exceeded": _cost_threshold_exceeded,
    "performance_alert": _performance_alert,
}
