"""Every statement of the hot paths: built with SQLAlchemy Core, rendered to text once.

Executing a construct costs ten times what the driver needs for a text that it has prepared
before, so operations run these texts on the driver's own cursor.

- `render`: from a construct to its text
- `instances`, `mailboxes`, `activities`: the statements by what they are about
- `reading`: the statements of the management capability
"""
