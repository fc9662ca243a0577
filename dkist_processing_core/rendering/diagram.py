"""
Diagrams of the order of the tasks of a workflow.

Runs in: author and CI. The same spec gives the same text, so a diagram can be kept in a repository.
"""

import json

from dkist_processing_core.authoring.spec import WorkflowSpec

__all__ = ["dot", "mermaid", "text"]

NODE_STYLE = 'shape=box, style="rounded,filled", fillcolor="#f6f8fa", fontname="Arial,sans-serif", fontsize=12'


def text(workflow: WorkflowSpec) -> str:
    """Return the tasks in order for a terminal, each with its upstreams."""
    width = max(len(node.name) for node in workflow.nodes)
    lines = [f"{workflow.name} {workflow.version}"]
    for node in workflow.nodes:
        queue = "" if node.queue == "default" else f"  [{node.queue}]"
        upstreams = f"  <- {', '.join(node.upstreams)}" if node.upstreams else ""
        lines.append(f"  {node.name.ljust(width)}{upstreams}{queue}".rstrip())
    return "\n".join(lines) + "\n"


def mermaid(workflow: WorkflowSpec) -> str:
    """Return a Mermaid flowchart, which many Markdown viewers draw."""
    # Short ids, since a name such as "end" is a keyword of Mermaid.
    ids = {node.name: f"t{number}" for number, node in enumerate(workflow.nodes)}
    lines = [f"%% {workflow.name} {workflow.version}", "flowchart LR"]
    for node in workflow.nodes:
        queue = "" if node.queue == "default" else f"<br/>{node.queue}"
        lines.append(f'    {ids[node.name]}["{node.name}{queue}"]')
    lines += [f"    {ids[upstream]} --> {ids[name]}" for upstream, name in workflow.edges()]
    return "\n".join(lines) + "\n"


def dot(workflow: WorkflowSpec) -> str:
    """Return a Graphviz graph; queues other than the default one are named and coloured."""
    lines = [f"digraph {json.dumps(workflow.dag_id)} {{", "    rankdir=LR;", f"    node [{NODE_STYLE}];"]
    for node in workflow.nodes:
        label = json.dumps(f"{node.name}\n{node.queue}", ensure_ascii=False)
        queue = "" if node.queue == "default" else f', label={label}, fillcolor="#fff4d6"'
        tooltip = json.dumps(f"{node.task}, queue {node.queue}", ensure_ascii=False)
        lines.append(f"    {json.dumps(node.name)} [tooltip={tooltip}{queue}];")
    lines += [f"    {json.dumps(upstream)} -> {json.dumps(name)};" for upstream, name in workflow.edges()]
    return "\n".join([*lines, "}"]) + "\n"
