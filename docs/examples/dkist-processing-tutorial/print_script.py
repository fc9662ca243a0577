"""Print the shell script that runs the task as a worker does."""

from dkist_processing_tutorial.workflows.sunspots import sunspots

(node,) = sunspots.nodes
print(node.bash_script)
