"""What is installed, what works, and what to do. Exit code 1 if the node cannot run."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pag_ros.cli.options import add_json, write_json
from pag_ros.runtime.doctor import Finding, examine, works

_SIGNS = {"works": "ok", "absent": "--", "broken": "!!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def main(args: argparse.Namespace) -> int:
    findings = examine()
    verdicts = {
        "cpu": works(findings, "CPU") and works(findings, "package"),
        "ros": works(findings, "ROS 2"),
        "tensorrt": works(findings, "NVIDIA GPU") and works(findings, "package"),
    }
    result = {"verdicts": verdicts, "findings": [asdict(finding) for finding in findings]}
    if not write_json(result, args.json):
        print("\n".join([*map(_line, findings), "", *_sentences(verdicts)]))
    return 0 if (verdicts["cpu"] or verdicts["tensorrt"]) and verdicts["ros"] else 1


def _line(finding: Finding) -> str:
    advice = f"\n{'':33}-> {finding.advice}" if finding.advice else ""
    name = f"{finding.part}: {finding.name}"
    return f"{_SIGNS[finding.state]}  {name:28} {finding.text}{advice}"


def _sentences(verdicts: dict[str, bool]) -> list[str]:
    devices = {"tensorrt": "an NVIDIA GPU (TensorRT)", "cpu": "the CPU"}
    usable = [device for device in devices if verdicts[device]]
    runs = " and ".join(devices[device] for device in usable)
    ros = "the node starts" if usable and verdicts["ros"] else "the node does NOT start"
    lines = [f"Networks run on {runs}; {ros}." if runs else f"Networks do NOT run; {ros}."]
    if usable:
        lines.append(f"`device: auto` takes {devices[usable[0]]}.")
    if "tensorrt" not in usable:
        lines.append("For an NVIDIA GPU something is missing, see above and docs/jetson.md.")
    return lines
