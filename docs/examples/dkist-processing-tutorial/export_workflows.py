"""Check every workflow of the package and write its DAG file to the folder dags; the CI of the package runs this."""

from dkist_processing_core.build_utils import export_dags, validate_workflows

from dkist_processing_tutorial import workflows

print(validate_workflows(workflows))
for file in export_dags(workflows, "dags"):
    print(file)
