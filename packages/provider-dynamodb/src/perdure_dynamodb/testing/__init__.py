"""For tests of this provider, and of what runs on it.

- `model`: DynamoDB in memory, as far as this provider uses it, in place of the transport
- `expressions`: the conditions and updates that the model understands
- `faults`: a transport that fails as DynamoDB does and DynamoDB Local does not
- `metering`: a transport that counts requests and works out what they cost
- `costs`: what each operation costs, by doing it once
- `fixtures`: pytest fixtures with the endpoint of a real DynamoDB Local
- `harness`: the backend that the conformance suite uses

Nothing of it is used in production, and nothing in it needs the driver but the last two.
"""
