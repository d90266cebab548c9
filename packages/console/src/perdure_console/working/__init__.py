"""What `perdure worker` is made of.

- `health`: answers `/livez` and `/readyz`
- `logs`: readable log lines, or JSON
- `reloading`: runs the worker again whenever a file of the program changes
- `resources`: what activities find in their context
"""
