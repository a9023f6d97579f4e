# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies as the plan composes and checks them, held to what the real OpenShell was seen to take (tests/golden/policies)."""

from __future__ import annotations

import re

import pytest

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import completed
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.compose import Catalogue
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.of_host import HostPolicies
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.presets import for_agent
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.rules import faults
from tests.emulator.errors import Failure, Refusal
from tests.emulator.policy import load, rules, schema
from tests.golden import policies
from tests.unit.test_plan import FACTS, LEAST, changed, plan, run

RECORDED = policies.recorded()
AGENTS = {"openclaw": Blueprint().yaml("agents/openclaw/manifest.yaml")}
SCHEMA = Blueprint().yaml("schema/policy.yaml")
CATALOGUE = Catalogue(Blueprint(), {})
BAD, GOOD, MERGED = policies.corpus("bad"), policies.corpus("good"), policies.merged()
RENEW = "python -m tests.golden.record_policies, with the real OpenShell, records it anew"

# What OpenShell takes and we do not: it then does something else than its author meant, or nothing.
DIFFERENCES = {
    "version 2": "a version that nobody has described",
    "host is a number": "a host name is a text; a number in YAML is a slip",
    "unknown landlock compatibility": "OpenShell takes any word for best_effort",
    "too large": "OpenShell measures a policy when a sandbox is created, and then refuses it; a later one it does not measure",
    "wildcard over a domain": "it is everything below a top level domain",
    "no host": "any host at all",
    "no port": "it opens nothing",
    "port 0": "it opens nothing",
    "host with scheme": "it matches no host",
    "host with port": "it matches no host",
    "loopback address": "OpenShell stores it and refuses every connection",
    "loopback name": "OpenShell stores it and refuses every connection",
    "metadata address": "OpenShell stores it and refuses every connection",
    "unspecified address": "OpenShell stores it and refuses every connection",
    "private address without allowed_ips": "a private address is opened only by who says so",
    "metadata in allowed_ips": "OpenShell stores it and refuses every connection",
    "loopback in allowed_ips": "OpenShell stores it and refuses every connection",
    "everything in allowed_ips": "it holds loopback and link-local addresses, which are never reached",
    "allowed_ips is no address": "OpenShell passes over it",
    "allowed_ips misses the address": "OpenShell stores it and refuses every connection",
    "no endpoints": "it opens nothing",
    "no binaries": "no program may use it",
    "relative binary": "no program has such a path",
    "protocol in capitals": "OpenShell takes it for a protocol in one place and for none in another",
    "no enforcement": "OpenShell lets everything through and only logs it",
    "unknown enforcement": "OpenShell lets everything through and only logs it",
    "unknown access": "OpenShell passes over it",
    "access without protocol": "nothing is inspected: everything is let through",
    "rules without protocol": "nothing is inspected: everything is let through",
    "tls skip with inspection": "encrypted traffic cannot be inspected",
    "unknown tls": "OpenShell passes over it",
    "relative request path": "it matches no request",
    "unknown method": "it matches no request",
    "method missing": "it is not said what is allowed",
}


def emulated(case):
    """(outcome, message) as the emulator judges a policy."""
    try:
        policy = schema.parse(case.text)
        if not case.live:
            rules.check_size(policy)
        rules.check(policy)
        rules.check_endpoints(policy, [])
    except Refusal as error:
        return "refused", error.message
    except Failure as error:
        return "refused", " ".join([error.message, *error.causes])
    fault = load.load_fault(policy)
    return ("not loaded", fault) if fault else ("accepted", "")


def squashed(text):
    """A message without what wrapping and quoting put in, up to where the real one's order is chance; sizes are of another encoding."""
    said = re.sub(r"\(\d+ > 262144\)", "", text.replace("\\n", "").replace("\\", ""))
    return "".join(said.partition("ambiguity validation failed:")[0].split())


# --- the corpus ---------------------------------------------------------------------------------------------------------------------------


def test_everything_is_recorded_once():
    names = [case.name for case in [*BAD, *GOOD, *MERGED]]
    assert len(names) == len(set(names))
    assert set(names) == set(RECORDED), RENEW
    assert {case.name for case in [*BAD, *GOOD, *MERGED] if RECORDED[case.name]["digest"] != case.digest} == set(), RENEW


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_bad_policy_is_refused(case):
    assert faults(case.policy, SCHEMA)
    assert (RECORDED[case.name]["outcome"] == "accepted") == (case.name in DIFFERENCES)


@pytest.mark.parametrize("case", [*GOOD, *MERGED], ids=lambda case: case.name)
def test_a_good_policy_passes(case):
    assert faults(case.policy, SCHEMA) == []
    assert RECORDED[case.name]["outcome"] == "accepted"


def test_differences_are_of_the_corpus():
    assert set(DIFFERENCES) <= {case.name for case in BAD}


@pytest.mark.parametrize("case", [*BAD, *GOOD, *MERGED], ids=lambda case: case.name)
def test_the_emulator_judges_as_the_real_one(case):
    outcome, message = emulated(case)
    assert outcome == RECORDED[case.name]["outcome"]
    assert squashed(message) in squashed(RECORDED[case.name]["message"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("top level wildcard", "TLD wildcard '*.com' is not allowed"),
        ("root as user", "run_as_user must be 'sandbox' or a numeric UID/GID in range [1000, 2000000000], got 'root'"),
        ("rules and access", "rules and access are mutually exclusive"),
        ("SQL enforced", "SQL enforcement requires full SQL parsing"),
        ("too many paths", "too many filesystem paths (258 > 256)"),
        ("binding to a provider that is not attached", "credential_binding references provider 'none'"),
    ],
)
def test_in_openshells_own_words(name, said):
    case = next(case for case in BAD if case.name == name)
    assert any(said in fault.problem for fault in faults(case.policy, SCHEMA))
    assert said in RECORDED[name]["message"]


# --- data ---------------------------------------------------------------------------------------------------------------------------------


def test_every_inspected_endpoint_is_enforced():
    for case in MERGED:
        for key, rule in case.policy["network_policies"].items():
            for endpoint in rule["endpoints"]:
                assert endpoint.get("enforcement", "enforce" if "protocol" not in endpoint else None) == "enforce", f"{case.name}: {key}"


def test_tiers_hold_presets_that_there_are():
    assert {entry["name"] for tier in CATALOGUE.tiers.values() for entry in tier["presets"]} <= set(CATALOGUE.names)
    assert set(CATALOGUE.tiers) == {"restricted", "balanced", "open"}


@pytest.mark.parametrize("name", CATALOGUE.names)
def test_a_preset_is_for_an_agent(name):
    assert any(for_agent(CATALOGUE.preset(name), agent) for agent in CATALOGUE.programs)


# --- composition --------------------------------------------------------------------------------------------------------------------------


def with_policy(**policy):
    return changed(LEAST, "nemoclaw_sandboxes.0.policy", policy)


def network(given, facts=None):
    return plan(given, **({"facts": facts} if facts else {}))["sandboxes"][0]["create"]["policy"]["network_policies"]


def errors(given):
    return {error["variable"]: f"{error['problem']} {error['remedy']}" for error in run(given)["errors"]}


def methods(rule):
    return {entry["allow"]["method"] for endpoint in rule["endpoints"] for entry in endpoint["rules"]}


RULE = {
    "name": "docs",
    "endpoints": [{"host": "docs.example.org", "port": 443, "protocol": "rest", "enforcement": "enforce", "access": "read-only"}],
    "binaries": ["curl"],
}


def test_the_tier_is_balanced_unless_chosen():
    assert network(LEAST) == network(with_policy(tier="balanced"))
    assert "huggingface" in network(LEAST)
    assert network(with_policy(tier="restricted")) == {}


def test_presets_are_added_and_removed():
    assert "github" in network(with_policy(presets=["github"]))
    assert "brave" not in network(with_policy(remove=["brave"]))
    assert "github" in network({**LEAST, "nemoclaw_policy_add": ["github"]})
    assert "brave" not in network({**LEAST, "nemoclaw_policy_remove": ["brave"]})
    assert "github" not in network({**with_policy(presets=["github"]), "nemoclaw_policy_remove": ["github"]})


def test_read_keeps_what_reads():
    assert methods(network(with_policy(tier="restricted", presets=["jira"]))["atlassian"]) == {"GET", "POST"}
    assert methods(network(with_policy(tier="restricted", presets=[{"name": "jira", "access": "read"}]))["atlassian"]) == {"GET"}
    git = network(with_policy(tier="restricted", presets=[{"name": "github", "access": "read"}]))["github"]
    assert methods(git) == {"GET", "HEAD"}
    assert {endpoint["protocol"] for endpoint in git["endpoints"]} == {"rest"}


def test_what_the_user_names_wins_over_the_tier():
    assert methods(network(with_policy(presets=[{"name": "brave", "access": "read"}]))["brave"]) == {"GET"}


def test_programs_have_the_paths_of_the_agents_image():
    rule = network(with_policy(custom=[RULE]))["docs"]
    assert rule["binaries"] == [{"path": "/usr/bin/curl"}, {"path": "/usr/local/bin/curl"}]


def test_a_rule_from_two_sources_is_refused_unless_it_says_so():
    own = {**RULE, "name": "github"}
    said = errors(with_policy(presets=["github"], custom=[own]))
    assert "nemoclaw_sandboxes[0].policy.presets[0]" in said["nemoclaw_sandboxes[0].policy.custom[0]"]
    policy = network(with_policy(presets=["github"], custom=[{**own, "override": True}]))
    assert policy["github"]["endpoints"][0]["host"] == "docs.example.org"


@pytest.mark.parametrize(
    ("policy", "variable", "said"),
    [
        ({"tier": "opne"}, "tier", "Did you mean open?"),
        ({"presets": ["gihub"]}, "presets[0]", "Did you mean github?"),
        ({"remove": ["gihub"]}, "remove[0]", "Did you mean github?"),
        ({"presets": ["nous-web"]}, "presets[0]", "is not for the agent openclaw"),
        ({"custom": [{**RULE, "endpoints": [{"host": "*.com", "port": 443}]}]}, "custom[0].endpoints[0].host", "TLD wildcard"),
        ({"custom": [{**RULE, "endpoints": [{"host": "a.example", "port": 443, "prot": "rest"}]}]}, "custom[0].endpoints[0].prot", "Did you mean port?"),
        ({"custom": [{**RULE, "binaries": ["crul"]}]}, "custom[0].binaries[0]", "no absolute path"),
        ({"filesystem": {"read_write": ["/"]}}, "filesystem.read_write", "overly broad"),
        ({"process": {"run_as_user": "root"}}, "process.run_as_user", "got 'root'"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(policy, variable, said):
    assert said in errors(with_policy(**policy))[f"nemoclaw_sandboxes[0].policy.{variable}"]


def test_rules_that_contradict_each_other_name_both():
    two = [{**RULE, "name": "skipped", "endpoints": [{"host": "docs.example.org", "port": 443, "tls": "skip"}]}, RULE]
    said = errors(with_policy(custom=two))
    assert list(said) == ["nemoclaw_sandboxes[0].policy.custom[1].endpoints[0]"]
    assert all(word in str(said) for word in ("skipped", "docs", "tls"))


def test_files_and_process_of_a_sandbox():
    made = plan(with_policy(filesystem={"read_only": ["/opt/models"]}, process={"run_as_user": "1000"}))["sandboxes"][0]["create"]["policy"]
    assert made["filesystem_policy"]["read_only"][-1] == "/opt/models"
    assert "/usr" in made["filesystem_policy"]["read_only"]
    assert made["process"] == {"run_as_user": "1000", "run_as_group": "sandbox"}


def test_a_sandbox_with_gpus_may_open_them():
    """As recorded: with /proc to be read only, OpenShell does not add the devices of GPUs (golden/transcripts/gpu.jsonl)."""
    made = HostPolicies(completed({"nemoclaw_sandboxes": [{"name": "a", "gpu": True}, {"name": "b"}]}, Blueprint().data), Blueprint(), AGENTS).composed({})
    with_gpus, without = (made[name].policy["filesystem_policy"] for name in "ab")
    assert "/proc" in with_gpus["read_write"]
    assert "/proc" not in with_gpus["read_only"]
    assert "/proc" in without["read_only"]


# --- a fleet's own presets, bounds, package hosts -----------------------------------------------------------------------------------------

OWN = {"wiki": {"network_policies": {"wiki": {"endpoints": [{"host": "wiki.example.org", "port": 443}], "binaries": ["agent"]}}}}


def test_a_fleets_own_preset():
    given = {**with_policy(presets=["wiki"]), "nemoclaw_policy_presets": OWN}
    assert network(given)["wiki"]["binaries"][0] == {"path": "/usr/local/bin/node"}


def test_an_own_preset_is_checked_also_where_nobody_has_it():
    wrong = {"wiki": {"network_policies": {"wiki": {"endpoints": [{"host": "localhost", "port": 443}], "binaries": ["agent"]}}}}
    assert "loopback" in next(iter(errors({**LEAST, "nemoclaw_policy_presets": wrong}).values()))


def test_an_own_preset_replaces_one_only_when_it_says_so():
    named = {"github": OWN["wiki"]}
    assert "already" in errors({**LEAST, "nemoclaw_policy_presets": named})["nemoclaw_policy_presets.github"]
    said = {"github": {**OWN["wiki"], "override": True}}
    assert set(network({**with_policy(tier="restricted", presets=["github"]), "nemoclaw_policy_presets": said})) == {"wiki"}


@pytest.mark.parametrize(
    ("bound", "presets"),
    [("wildcard_hosts", ["discord"]), ("write_methods", ["jira"]), ("uninspected", ["github"]), ("private_addresses", ["local-inference"])],
)
def test_a_preset_over_a_bound_is_refused(bound, presets):
    given = with_policy(tier="restricted", presets=presets)
    assert network(given)
    said = errors({**given, "nemoclaw_policy_max_open": {bound: False}})
    assert list(said) == ["nemoclaw_sandboxes[0].policy.presets[0]"]
    assert f"nemoclaw_policy_max_open.{bound}" in str(said)


def test_rules_for_any_program_and_logged_ones_are_bounded():
    anyone = with_policy(custom=[{**RULE, "binaries": ["/**"]}])
    assert "any_binary" in errors(anyone)["nemoclaw_sandboxes[0].policy.custom[0].binaries[0]"]
    assert network({**anyone, "nemoclaw_policy_max_open": {"any_binary": True}})
    logged = with_policy(custom=[{**RULE, "endpoints": [{**RULE["endpoints"][0], "enforcement": "audit"}]}])
    assert network(logged)
    assert "audit" in str(errors({**logged, "nemoclaw_policy_max_open": {"audit": False}}))


def hosts(rule):
    return [(endpoint["host"], endpoint["port"]) for endpoint in rule["endpoints"]]


def test_package_hosts_are_the_users_else_the_hosts_own():
    facts = {**FACTS, "package_hosts": {"pypi": ["mirror.example.org:8443"]}}
    assert hosts(network(LEAST, facts)["pypi"]) == [("mirror.example.org", 8443)]
    assert hosts(network({**LEAST, "nemoclaw_package_hosts": {"pypi": ["other.example.org"]}}, facts)["pypi"]) == [("other.example.org", 443)]
    private = network({**LEAST, "nemoclaw_package_hosts": {"pypi": ["10.1.2.3"]}}, facts)["pypi"]["endpoints"][0]
    assert private["allowed_ips"] == ["10.1.2.3"]


def test_without_package_hosts_a_tier_goes_without_and_says_so():
    result = run(LEAST)
    assert "pypi" not in result["plan"]["sandboxes"][0]["create"]["policy"]["network_policies"]
    assert any("nemoclaw_package_hosts.pypi" in note for note in result["notes"])
    assert "nemoclaw_package_hosts" in errors(with_policy(presets=["pypi"]))["nemoclaw_sandboxes[0].policy.presets[0]"]
    assert run({**LEAST, "nemoclaw_package_hosts": policies.PACKAGE_HOSTS})["notes"] == []
