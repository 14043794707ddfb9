# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one picture, for attackers to change: a refusal, an output, its export."""

from house import attempt, deny, export, gen, ingest

POLICY = {"id": "rules", "version": "7", "digest": "sha256:" + "7" * 64}


def story(name="one"):
    """An ingested picture, a refusal with its policy, and an output that is exported."""
    refused, made = attempt(), attempt()
    refused["body"] = {**refused["body"], "policy": POLICY}
    denial = deny(refused["aggregate_id"])
    denial["body"] = {**denial["body"], "policy": POLICY}
    return [
        ingest(f"picture-{name}", source={"id": f"camera-{name}", "n": 1}),
        refused,
        denial,
        made,
        gen(made["aggregate_id"], f"output-{name}"),
        export(f"output-{name}"),
    ]
