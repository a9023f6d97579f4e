# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx as the role of the proxy finds and leaves it: somebody's is not replaced, what the first proxy brought goes with the last one."""

from __future__ import annotations

import base64
import json
import pathlib

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = pathlib.Path(__file__).resolve().parents[2] / "roles/proxy"


def trusted(value):
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    return [trusted(one) for one in value] if isinstance(value, list) else trust_as_template(value) if isinstance(value, str) else value


def read(path):
    return trusted(yaml.safe_load((ROLE / path).read_text()))


def done(tasks, known):
    """Names and arguments of the tasks that run, with the facts that others would have registered."""
    found = {}
    for task in tasks:
        of_task = {**known, **task.get("vars", {})}
        templar = Templar(DataLoader(), variables=of_task)
        conditions = task["when"] if isinstance(task.get("when"), list) else [task["when"]] if "when" in task else []
        if not all(templar.template(trust_as_template(f"{{{{ {condition} }}}}")) for condition in conditions):
            continue
        if "block" in task:
            found.update(done(task["block"], of_task))
        else:
            module = next(key for key in task if key.startswith(("ansible.", "nemoclaw.")))
            found[task["name"]] = (templar if "loop" not in task else Templar(DataLoader(), variables={**of_task, "item": ""})).template(task[module])
    return found


def known(**registered):
    plan = {"gateway": {"name": "nemoclaw"}, "proxy": {"resources": registered.pop("resources", [])}}
    return {**read("vars/main.yml"), "proxy_plan": plan, **registered}


@pytest.mark.parametrize(
    ("installed", "nginx", "record", "wanted", "outcome"),
    [
        (["openssl"], False, False, "nginx", ["nginx"]),
        ([], False, False, "nginx-extras", ["nginx-extras", "openssl"]),
        (["openssl"], True, False, "nginx-extras", "nginx-extras"),  # somebody's of another package
        (["openssl"], True, False, "nginx", "nginx"),  # somebody's of no package
        (["nginx"], True, False, "nginx", ["openssl"]),
        (["openssl"], True, True, "nginx", ["nginx"]),  # a run was interrupted while it was installed
        (["nginx", "openssl"], True, False, "nginx", None),
    ],
)
def test_somebodys_nginx_is_not_replaced(installed, nginx, record, wanted, outcome):
    facts = known(
        resources=[{"resource": "packages", "packages": [wanted, "openssl"]}],
        proxy_installed={"stdout_lines": [f"{name} installed" for name in installed] + ["other not-installed"]},
        proxy_there={"results": [{"stat": {"exists": nginx}}, {"stat": {"exists": record}}]},
    )
    ran = done(read("tasks/packages.yml"), facts)
    refused = ran.get("Refuse to replace somebody's nginx", {}).get("msg", "")
    assert bool(refused) == isinstance(outcome, str)
    if refused:
        assert f"'apt-get install {outcome}'" in refused
        return
    assert sorted(ran.get("Install them", {}).get("name", [])) == (outcome or [])  # the filter difference keeps no order
    ours = [name for name in outcome or [] if name.startswith("nginx")]
    remembered = ran.get("Remember what is to go with the last proxy", {})
    assert (json.loads(remembered["content"]) if remembered else []) == ours
    assert ("No service of the distribution" in ran) == bool(ours)


OWN, OTHER = "/etc/nemoclaw/proxy/conf", "/etc/small/proxy/conf"


@pytest.mark.parametrize(
    ("record", "unit", "links", "removed", "forgotten"),
    [
        (["nginx"], "/dev/null", [], ["nginx", "nginx-common"], True),
        (["nginx-extras"], "/dev/null", [], ["nginx-extras", "nginx-common"], True),
        (["nginx"], "/dev/null", [OWN], ["nginx", "nginx-common"], True),  # in check mode it is still there
        (["nginx"], "/dev/null", [OTHER], None, False),
        (["nginx"], "/dev/null", ["/etc/theirs/conf", "/etc/a/b/conf"], ["nginx", "nginx-common"], True),
        (["nginx"], None, [], None, True),  # somebody has begun to use it
        (None, "/dev/null", [], None, False),
    ],
)
def test_nginx_goes_with_the_last_proxy(record, unit, links, removed, forgotten):
    facts = known(
        proxy_recorded={} if record is None else {"content": base64.b64encode(json.dumps(record).encode()).decode()},
        proxy_masked={"stat": {"lnk_source": unit} if unit else {}},
        proxy_links={"files": [{"path": path} for path in links]},
    )
    ran = done(read("tasks/remove.yml"), facts)
    assert ran.get("No packages", {}).get("name") == removed
    assert ("No mask" in ran) == bool(removed)
    assert ("No record" in ran) == forgotten


def test_gateways_that_go_together_do_not_leave_nginx_to_each_other():
    """Hosts of a play do a task all together: each looks for the others' configurations when its own is gone."""
    names = [task["name"] for task in read("tasks/remove.yml")]
    assert names.index("No configuration and no token") < names.index("Configurations of proxies") < names.index("No nginx where there was none")
    record = read("vars/main.yml")["proxy_record"]
    assert not record.startswith("/etc/nemoclaw/")
    assert not record.endswith(".json"), "as /etc/nemoclaw-NAME.json it would be a gateway's"
