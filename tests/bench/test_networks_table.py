"""The table of how well every network runs: what is there stays, and what is not is filled in."""

from __future__ import annotations

import csv

from bench import networks


def test_only_what_is_missing_is_counted(monkeypatch, tmp_path):
    output, counted = tmp_path / "networks.csv", []
    head = "cortex-a53 cycles per multiply-add"
    output.write_text(f"network,multiply-adds,{head}\nmobilenet_v2,300774272,0.5\n")

    def cells(network, core, usual):
        counted.append((str(network), core.name, usual))
        return {f"{core.name} {head}": "1" for head in networks.HEADS}

    monkeypatch.setattr(networks, "NETWORKS", networks.NETWORKS[:2])
    monkeypatch.setattr(networks, "cells", cells)
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["networks", "--cores", "a53,a76", "--output", str(output)])
        networks.main()
    wide = "mobilenet_v2 width=1.4"
    missing = [("mobilenet_v2", "cortex-a76", None), (wide, "cortex-a53", "0.5"), (wide, "cortex-a76", "1")]
    assert counted == missing
    with output.open() as file:
        first, second = csv.DictReader(file)
    assert first[head] == "0.5" and second["network"] == wide and second["multiply-adds"] == "582195824"
