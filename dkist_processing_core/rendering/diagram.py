"""
The order of the tasks of a workflow, drawn.

Runs in: author and CI. The same spec gives the same text, so a drawing can be kept in a repository.
"""

import json

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.rendering.layers import Drawing

__all__ = ["dot", "mermaid", "svg", "text"]


def text(workflow: WorkflowSpec) -> str:
    """Return the tasks in order for a terminal, each with what it waits for."""
    widest = max(len(node.name) for node in workflow.nodes)
    lines = [f"{workflow.name} {workflow.version}"]
    for node in workflow.nodes:
        queue = "" if node.queue == "default" else f"  [{node.queue}]"
        waits = f"  <- {', '.join(node.upstreams)}" if node.upstreams else ""
        lines.append(f"  {node.name.ljust(widest)}{waits}{queue}".rstrip())
    return "\n".join(lines) + "\n"


def mermaid(workflow: WorkflowSpec) -> str:
    """Return a flowchart in the language of Mermaid, which many viewers of Markdown draw."""
    numbers = {node.name: f"t{number}" for number, node in enumerate(workflow.nodes)}
    lines = [f"%% {workflow.name} {workflow.version}", "flowchart LR"]
    lines += [f'    {numbers[node.name]}["{node.name}"]' for node in workflow.nodes]
    lines += [f"    {numbers[upstream]} --> {numbers[name]}" for upstream, name in workflow.edges()]
    return "\n".join(lines) + "\n"


def dot(workflow: WorkflowSpec) -> str:
    """Return a graph in the language of Graphviz."""
    lines = [f"digraph {json.dumps(workflow.dag_id)} {{", "    rankdir=LR;", "    node [shape=box, style=rounded];"]
    lines += [f"    {json.dumps(node.name)};" for node in workflow.nodes]
    lines += [f"    {json.dumps(upstream)} -> {json.dumps(name)};" for upstream, name in workflow.edges()]
    return "\n".join([*lines, "}"]) + "\n"


def svg(workflow: WorkflowSpec) -> str:
    """Return a picture (SVG 1.1) with the tasks in layers from left to right."""
    return Drawing(workflow).svg()
