"""What each writing method of the contract does to the tables, inside the writer's transaction.

- `instances`: creates instances and sends messages
- `mailboxes`: adds and delivers messages, and keeps each instance in its bucket
- `queue_heads`: finds out which queues have work that is ready, and when others will
- `turns`, `activities`: grant, renew and release leases
- `values`: sets the values and the custom status of an instance
- `executions`: appends to histories, ends executions and begins the next ones
- `commits`: carries out the commit of a turn
- `recovery`: reopens and terminates instances
- `deletion`: deletes instances, executions, early events and namespaces
- `removals`: removes what belonged to deleted instances, in short transactions
"""
