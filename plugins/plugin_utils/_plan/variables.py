# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's variables: every mistake found at once, each with the variable, what is wrong with its value, and the remedy. Pure functions."""

from __future__ import annotations

import difflib
import functools
import ipaddress
import re
import typing as t
import urllib.parse

try:
    import jsonschema
except ImportError:  # the action plugin says so
    jsonschema = None

from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import is_loopback
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._agents import AGENTS

SECRETS = "nemoclaw_credentials"
# JSON schema's types as a YAML author calls them; a bool is an int to Python, so it comes first
JSON_TYPES = (("boolean", bool), ("object", dict), ("array", list), ("string", str), ("integer", int), ("number", float), ("null", object))
KINDS = {
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "null": "empty",
}


# settings of an agent that come from nemoclaw_inference, by their names there
INFERENCE_SETTINGS = {"model": "model", "context_window": "context_window", "max_tokens": "max_tokens", "api": "preferred_api"}


Path = tuple[t.Union[str, int], ...]


class Problem(t.NamedTuple):
    """One mistake: C(variable) as C(nemoclaw_sandboxes[0].name), what is wrong, what to do."""

    variable: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.problem} {self.remedy}".strip()


def nearest(word: t.Any, known: t.Iterable[str]) -> str:
    """The known word that the user most likely meant, else the list of all."""
    words = sorted(known)
    found = difflib.get_close_matches(str(word), words, 1, 0.6)
    return f"Did you mean {found[0]}?" if found else f"Known: {', '.join(words)}."


def dotted(path: t.Iterable[t.Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _whole_pattern(_validator: t.Any, pattern: str, value: t.Any, _schema: t.Any) -> t.Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield jsonschema.ValidationError(f"{value!r} does not match")


def schema_problems(variables: dict[str, t.Any], schema: dict[str, t.Any]) -> list[Problem]:
    """What the schema refuses: unknown and missing keys, types, ranges, forms."""
    return [Problem(dotted(path), problem, remedy) for path, problem, remedy in schema_faults(variables, schema)]


@functools.cache
def _validator() -> t.Any:
    # a pattern is of the whole text: Python's $ alone would take a line feed after it
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _whole_pattern})


def schema_faults(value: t.Any, schema: dict[str, t.Any]) -> list[tuple[Path, str, str]]:
    """The same for any value, with the path to what is wrong in it."""
    found: dict[tuple[Path, str], tuple[Path, str, str]] = {}
    for error in sorted(_validator()(schema).iter_errors(value), key=lambda e: dotted(e.absolute_path)):
        for path, problem, remedy in _explained(error):
            found.setdefault((path, remedy), (path, problem, remedy))
    return list(found.values())


def _explained(error: jsonschema.ValidationError) -> t.Iterator[tuple[Path, str, str]]:
    path, value, rule = tuple(error.absolute_path), error.instance, error.validator
    shown = "the value" if path and path[0] == SECRETS else repr(value)
    remedy = error.schema.get("remedy", "")
    if rule == "additionalProperties":
        known = error.schema["properties"]
        for key in sorted(set(value) - set(known)):
            yield (*path, key), f"there is no such {'key' if path else 'variable'}.", nearest(key, known)
    elif rule == "required":
        for key in [key for key in error.validator_value if key not in value]:
            about = error.schema["properties"].get(key, {}).get("description", "")
            yield (*path, key), "is missing.", f"Set it: {about[:1].lower()}{about[1:]}." if about else "Set it."
    elif rule == "enum":
        yield path, f"{shown} is not possible.", remedy or nearest(value, map(str, error.validator_value))
    elif rule == "type":
        wanted = " or ".join(KINDS[kind] for kind in ([error.validator_value] if isinstance(error.validator_value, str) else error.validator_value))
        as_json = f"; with --extra-vars, as JSON: -e '{{\"{path[0]}\": …}}'" if path and str(path[0]).startswith("nemoclaw_") else ""
        yield path, f"{shown} is {KINDS[_json_type(value)]}, not {wanted}.", remedy or f"Write {wanted}{as_json}."
    elif rule == "maxLength":
        yield path, f"{shown} has {len(value)} characters, {error.validator_value} are allowed.", remedy
    elif rule in ("minimum", "maximum"):
        yield path, f"{shown} is out of range.", remedy
    elif rule in ("minItems", "minLength"):
        yield path, "is empty.", remedy or "Give at least one."
    else:
        yield path, f"{shown} does not have the right form.", remedy


def _json_type(value: t.Any) -> str:
    return next(kind for kind, of in JSON_TYPES if isinstance(value, of))


def cross_problems(
    variables: dict[str, t.Any],
    providers: dict[str, t.Any],
    agents: dict[str, t.Any],
    found: t.Sequence[Problem] = (),
    more: t.Sequence[t.Iterator[Problem]] = (),
) -> list[Problem]:
    """What a schema cannot say. C(variables) are C(completed), and C(resolved) where a server of the host serves the model.

    C(agents) maps a name to its manifest; credentials are names to whether they are set.

    C(found) are the schema's problems. With some, a check goes as far as it gets on values of the wrong kind, and nothing is said twice.
    C(more) are further checks.
    """
    checks = (
        _inference_problems(variables, providers),
        _sandbox_problems(variables, agents),
        _image_problems(variables, agents),
        _gateway_problems(variables),
        _port_problems(variables, agents),
        *more,
    )
    problems: list[Problem] = []
    for check in checks:
        known = tuple({problem.variable for problem in [*found, *problems]})
        try:
            problems += dict.fromkeys(problem for problem in check if not _within(problem.variable, known))
        except (AttributeError, KeyError, TypeError, ValueError):
            if not found:
                raise
    return problems


def _within(variable: str, known: t.Iterable[str]) -> bool:
    """Whether one of the known variables is this one or holds it."""
    return any(variable == one or variable.startswith((f"{one}.", f"{one}[")) for one in known)


def url_problem(url: str) -> tuple[str, str] | None:
    try:
        parts = urllib.parse.urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return f"{url!r} is no URL: {error}.", "Give a base URL such as http://127.0.0.1:8000/v1."
    if parts.scheme not in ("http", "https") or not host:
        return f"{url!r} is no http or https URL.", "Give a base URL such as http://127.0.0.1:8000/v1."
    if parts.username or parts.password:
        return "it holds a user or a password.", "Put the secret into nemoclaw_credentials and take it out of the URL."
    if parts.query or parts.fragment:
        return f"{url!r} has a query or a fragment.", "Give the base URL only."
    if host.endswith("inference.local") or host == "host.openshell.internal":
        return f"{host} is a name inside sandboxes.", "Give the URL as it is on the host, such as http://127.0.0.1:8000/v1."
    return None


def _inference_problems(variables: dict[str, t.Any], providers: dict[str, t.Any]) -> t.Iterator[Problem]:
    inference, where = variables["nemoclaw_inference"], "nemoclaw_inference"
    if not inference:
        if present(variables):
            yield Problem(where, "is missing; agents need a model.", "Set its provider and model.")
        return
    provider = providers.get(inference["provider"])
    if provider is None:
        yield Problem(f"{where}.provider", f"{inference['provider']!r} is no provider.", nearest(inference["provider"], providers))
        return
    url = inference.get("endpoint_url") or provider.get("endpoint_url")
    if not url:
        yield Problem(
            f"{where}.endpoint_url", f"is missing; the provider {inference['provider']} has no endpoint of its own.", "Set it to the server's base URL."
        )
    elif wrong := url_problem(url):
        yield Problem(f"{where}.endpoint_url", *wrong)
    if (api := inference.get("preferred_api")) and api not in provider["apis"]:
        yield Problem(f"{where}.preferred_api", f"{api!r} is not possible with the provider {inference['provider']}.", nearest(api, provider["apis"]))
    if not inference.get("model"):
        yield Problem(f"{where}.model", "is missing.", "Set it to the model as the endpoint calls it.")
        return
    credential = provider["credential"]
    if not inference.get("key_file") and not variables.get(SECRETS, {}).get(credential):
        yield Problem(
            f"{SECRETS}.{credential}", "is missing or empty.", "Set it from a vault or the environment; a server without a key takes any text, such as unused."
        )
    models = {sandbox["model"]: sandbox["name"] for sandbox in present(variables) if sandbox.get("model", inference["model"]) != inference["model"]}
    for model, name in models.items():
        yield Problem(
            f"nemoclaw_sandboxes.{name}.model",
            f"{model!r} is not {inference['model']!r}, the model of nemoclaw_inference; a gateway has one model for all its sandboxes.",
            "Give both the same model, or declare a second gateway: a second inventory host for the same machine with its own nemoclaw_user, nemoclaw_gateway "
            "(name, ports, subnet) and nemoclaw_inference.",
        )


def present(variables: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The sandboxes that are to exist."""
    return [sandbox for sandbox in variables["nemoclaw_sandboxes"] if sandbox["state"] != "absent"]


def _sandbox_problems(variables: dict[str, t.Any], agents: dict[str, t.Any]) -> t.Iterator[Problem]:
    names: set[str] = set()
    for index, sandbox in enumerate(variables["nemoclaw_sandboxes"]):
        where = f"nemoclaw_sandboxes[{index}]"
        if sandbox.get("name") in names:
            yield Problem(f"{where}.name", f"{sandbox['name']!r} is there twice.", "Give each sandbox of a host its own name.")
        names.update([sandbox["name"]] if "name" in sandbox else [])
        name = sandbox["agent"]
        if name not in agents:
            yield Problem(f"{where}.agent", f"{name!r} is no agent.", nearest(name, agents))
        elif sandbox["state"] != "absent" and variables["nemoclaw_inference"]:
            for key, problem, remedy in AGENTS[name].errors(agent_settings(variables, sandbox), agents[name]):
                variable = INFERENCE_SETTINGS.get(key)
                yield Problem(f"nemoclaw_inference.{variable}" if variable else f"{where}.{key}", f"{problem}.", f"{remedy[:1].upper()}{remedy[1:]}.")
        rules = [rule["name"] for rule in sandbox.get("policy", {}).get("custom", []) if "name" in rule]
        for rule in sorted({rule for rule in rules if rules.count(rule) > 1}):
            yield Problem(f"{where}.policy.custom", f"the rule {rule!r} is there twice.", "Give each rule its own name.")


def agent_settings(variables: dict[str, t.Any], sandbox: dict[str, t.Any]) -> dict[str, t.Any]:
    """What an agent's configuration is rendered from; keys without a value are left out."""
    inference = variables["nemoclaw_inference"]
    settings = {
        "model": inference.get("model", ""),
        "context_window": inference.get("context_window"),
        "max_tokens": inference.get("max_tokens"),
        "api": inference.get("preferred_api"),
        "dashboard_port": sandbox.get("dashboard_port"),
        "allowed_origins": sandbox.get("allowed_origins"),
        "config": sandbox.get("config"),
        "env": {key: str(value) for key, value in sandbox["env"].items()} if sandbox.get("env") else None,
    }
    return {key: value for key, value in settings.items() if value is not None}


def _image_problems(variables: dict[str, t.Any], agents: dict[str, t.Any]) -> t.Iterator[Problem]:
    for agent, image in variables.get("nemoclaw_images", {}).items():
        where, source = f"nemoclaw_images.{agent}", image.get("source", "build")
        if agent not in agents:
            yield Problem(where, f"{agent!r} is no agent.", nearest(agent, agents))
        for key in {"build": [], "pull": ["name"], "archive": ["name", "archive"]}[source]:
            if not image.get(key):
                yield Problem(f"{where}.{key}", f"is missing; the source {source} needs it.", "Set it.")


def _gateway_problems(variables: dict[str, t.Any]) -> t.Iterator[Problem]:
    subnet = variables["nemoclaw_gateway"]["subnet"]
    try:
        network = ipaddress.ip_network(subnet)
        if network.version != 4 or not 16 <= network.prefixlen <= 29 or not network.is_private:
            yield Problem("nemoclaw_gateway.subnet", f"{subnet!r} is no private IPv4 subnet of /16 to /29.", "Give one such as 172.30.200.0/24.")
    except ValueError as error:
        yield Problem("nemoclaw_gateway.subnet", f"{error}.", "Give a subnet such as 172.30.200.0/24.")
    if variables["nemoclaw_user"] in variables["nemoclaw_gateway_users"]:
        yield Problem("nemoclaw_gateway_users", f"{variables['nemoclaw_user']!r} is nemoclaw_user, who has the gateway anyway.", "Take it out of the list.")


def ports(variables: dict[str, t.Any], agents: dict[str, t.Any]) -> dict[str, int]:
    """Every port of the host that the plan opens, by the variable that says so."""
    gateway = variables["nemoclaw_gateway"]
    found = {"nemoclaw_gateway.port": gateway["port"], "nemoclaw_gateway.health_port": gateway["health_port"]}
    for index, sandbox in enumerate(variables["nemoclaw_sandboxes"]):
        manifest = agents.get(sandbox["agent"])
        if manifest and sandbox["state"] != "absent":
            found[f"nemoclaw_sandboxes[{index}].dashboard_port"] = sandbox.get("dashboard_port", manifest["port"])
    return {**found, **proxy_ports(variables)}


def proxy_ports(variables: dict[str, t.Any]) -> dict[str, int]:
    """The ports of a completed C(nemoclaw_proxy), by the variable that says so."""
    proxy = variables.get("nemoclaw_proxy", {})
    first, *others = proxy["backends"] if proxy.get("backends") and proxy["state"] != "absent" else [None]
    return {"nemoclaw_proxy.port": first["port"], **{f"nemoclaw_proxy.backends.{one['name']}.port": one["port"] for one in others}} if first else {}


def addresses(variable: str, variables: dict[str, t.Any]) -> list[str]:
    """Where something listens on the port that a variable names: on the loopback, but for a proxy for other machines."""
    chosen = variables["nemoclaw_proxy"]["address"] if variable.startswith("nemoclaw_proxy.") else "127.0.0.1"
    return ["0.0.0.0"] if chosen == "0.0.0.0" else list(dict.fromkeys([chosen, "127.0.0.1"]))


def network(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """The sandboxes' network as the probe wants it: the host's address on it, and the ports of the host that sandboxes must reach."""
    gateway, url = variables["nemoclaw_gateway"], variables["nemoclaw_inference"].get("endpoint_url", "")
    reached = {gateway["port"]}
    if (endpoint := _loopback_port(url)) is not None:
        reached.add(endpoint)
    address = next(ipaddress.ip_network(gateway["subnet"]).hosts())
    return {"name": gateway["name"], "subnet": gateway["subnet"], "address": str(address), "ports": sorted(reached)}


def _loopback_port(url: str) -> int | None:
    """The port of an endpoint that is on the host itself."""
    if url_problem(url):
        return None
    parts = urllib.parse.urlsplit(url)
    return (parts.port or (443 if parts.scheme == "https" else 80)) if is_loopback(parts.hostname or "") else None


def _port_problems(variables: dict[str, t.Any], agents: dict[str, t.Any]) -> t.Iterator[Problem]:
    endpoint = _loopback_port(variables["nemoclaw_inference"].get("endpoint_url", ""))
    taken: dict[int, str] = {} if endpoint in (None, *proxy_ports(variables).values()) else {endpoint: "nemoclaw_inference.endpoint_url"}
    for variable, port in ports(variables, agents).items():
        if port in taken:
            yield Problem(variable, f"the port {port} is used by {taken[port]} too.", "Give each its own port.")
        taken.setdefault(port, variable)


def completed(variables: dict[str, t.Any], data: dict[str, t.Any]) -> dict[str, t.Any]:
    """The variables with every default filled in; C(data) is the blueprint's."""
    defaults = {key: data["gateway"][key] for key in ("name", "port", "health_port", "subnet", "log_level")}
    repairs = variables.get("nemoclaw_preflight_repair", [])
    return {
        **variables,
        "nemoclaw_user": variables.get("nemoclaw_user", "nemoclaw"),
        "nemoclaw_openshell": {"source": "preinstalled", "bin_dir": data["openshell"]["bin_dir"], **variables.get("nemoclaw_openshell", {})},
        "nemoclaw_docker_source": variables.get("nemoclaw_docker_source", "distribution" if "docker" in repairs else "present"),
        "nemoclaw_gateway": {**defaults, **variables.get("nemoclaw_gateway", {})},
        "nemoclaw_gateway_users": variables.get("nemoclaw_gateway_users", []),
        "nemoclaw_inference": variables.get("nemoclaw_inference", {}),
        "nemoclaw_preflight_repair": repairs,
        "nemoclaw_swap": {**data["swap"], **variables.get("nemoclaw_swap", {})},
        "nemoclaw_policy_max_open": {**data["policy"]["max_open"], **variables.get("nemoclaw_policy_max_open", {})},
        "nemoclaw_policy_presets": variables.get("nemoclaw_policy_presets", {}),
        "nemoclaw_policy_add": variables.get("nemoclaw_policy_add", []),
        "nemoclaw_policy_remove": variables.get("nemoclaw_policy_remove", []),
        "nemoclaw_package_hosts": variables.get("nemoclaw_package_hosts", {}),
        "nemoclaw_verify_prompt": variables.get("nemoclaw_verify_prompt", data["verify"]["prompt"]),
        "nemoclaw_sandboxes": [
            _completed_sandbox(sandbox if isinstance(sandbox, dict) else {"name": "", "state": "absent"}, data)
            for sandbox in variables.get("nemoclaw_sandboxes", [])
        ],
    }


def _completed_sandbox(sandbox: dict[str, t.Any], data: dict[str, t.Any]) -> dict[str, t.Any]:
    policy = sandbox.get("policy", {})
    return {"agent": "openclaw", "state": "present", **sandbox, "policy": {"tier": data["policy"]["tier"], **(policy if isinstance(policy, dict) else {})}}
