"""Print the script that runs the task on a worker."""

from dkist_processing_tutorial.workflows.sunspots import sunspots

(node,) = sunspots.nodes
print(node.bash_script)
