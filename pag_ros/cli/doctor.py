"""What is installed, what works, and what to do. Exit code 1 if the node cannot run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pag_ros.runtime.doctor import Finding, examine, works

_SIGNS = {"works": "ok", "absent": "--", "broken": "!!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it for programs")


def main(args: argparse.Namespace) -> int:
    findings = examine()
    verdicts = {
        "cpu": works(findings, "CPU") and works(findings, "package"),
        "ros": works(findings, "ROS 2"),
        "gpu_ready": works(findings, "NVIDIA GPU"),
    }
    if args.json:
        print(json.dumps({"verdicts": verdicts, "findings": [asdict(f) for f in findings]}))
    else:
        print("\n".join([*map(_line, findings), "", *_sentences(verdicts)]))
    return 0 if verdicts["cpu"] and verdicts["ros"] else 1


def _line(finding: Finding) -> str:
    advice = f"\n{'':33}-> {finding.advice}" if finding.advice else ""
    name = f"{finding.part}: {finding.name}"
    return f"{_SIGNS[finding.state]}  {name:28} {finding.text}{advice}"


def _sentences(verdicts: dict[str, bool]) -> list[str]:
    cpu = "Networks run" if verdicts["cpu"] else "Networks do NOT run"
    ros = "the node starts" if verdicts["cpu"] and verdicts["ros"] else "the node does NOT start"
    gpu = (
        "all that a TensorRT session will need is" if verdicts["gpu_ready"] else "not all of it is"
    )
    return [
        f"{cpu} on the CPU; {ros}.",
        f"NVIDIA GPU: {gpu} here; this version has no TensorRT session yet (docs/gpu.md).",
    ]
