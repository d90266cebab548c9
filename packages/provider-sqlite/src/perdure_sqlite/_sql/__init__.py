"""Every statement, built with SQLAlchemy Core and rendered to text once, at import.

Executing a SQLAlchemy construct costs about ten times as much as executing a text that the driver
has prepared before, so the operations pass these texts to the driver's own cursor.

- `render`: from a construct to its text
- `leasable`: the statements that instances and activities have in common
- `instances`, `mailboxes`, `activities`, `values`, `deletions`: the statements of each subject
- `management`, `listings`, `work`: the statements of the management capability
- `rows`: from rows to records of the contract
"""
